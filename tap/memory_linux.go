package tap

import (
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hostMemory returns the octets that this process may use: those of the host, or of its control group.
func hostMemory() int {
	most := uint64(math.MaxInt)
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err == nil {
		most = min(most, uint64(host.Totalram)*uint64(host.Unit))
	}
	groups, _ := os.ReadFile("/proc/self/cgroup") // without groups there is no limit
	return int(min(most, groupMemory(string(groups), "/sys/fs/cgroup")))
}

// groupMemory returns the least that the groups (cgroups(7), of either version), or those that they are in, let have.
func groupMemory(groups, root string) uint64 {
	most := uint64(math.MaxUint64)
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		folder, file := root, "memory.max"
		if parts[1] == "memory" {
			folder, file = root+"/memory", "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			text, _ := os.ReadFile(path.Join(folder, group, file)) // outside of a container, or "max"
			if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
				most = min(most, limit)
			}
			if group == "/" {
				break
			}
		}
	}
	return most
}

// allocate gets memory from the system: all of its pages at once, where it is sure to be used, which takes far less time than
// one by one.
func allocate(octets int, atOnce bool) []byte {
	flags := unix.MAP_PRIVATE | unix.MAP_ANON
	if atOnce {
		flags |= unix.MAP_POPULATE
	}
	memory, err := unix.Mmap(-1, 0, octets, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return make([]byte, octets)
	}
	return memory
}

// release gives it back.
func release(memory []byte) { _ = unix.Munmap(memory) } // what was made here is left to the collector
