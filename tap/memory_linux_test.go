package tap

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestGroupMemory: a container or a service may use what its control group says, not what the host has.
func TestGroupMemory(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"system.slice/memory.max":                          "1073741824\n",
		"system.slice/mailwire.service/memory.max":         "max\n",
		"memory/memory.limit_in_bytes":                     "9223372036854771712\n",
		"memory/docker/0123/memory.limit_in_bytes":         "536870912\n",
		"system.slice/small.service/memory.max":            "268435456\n",
		"system.slice/small.service/memory.limit_in_bytes": "1\n",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for groups, want := range map[string]uint64{
		"":                                    math.MaxUint64,
		"what?":                               math.MaxUint64,
		"0::/":                                math.MaxUint64,
		"0::/system.slice/mailwire.service\n": 1 << 30,
		"0::/system.slice/small.service\n":    256 << 20,
		"1:cpu:/docker/0123\n4:memory:/docker/0123\n": 512 << 20,
		"4:memory:/of-the-host\n0::/\n":               9223372036854771712,
	} {
		if got := groupMemory(groups, root); got != want {
			t.Errorf("%q: %d, want %d", groups, got, want)
		}
	}
	if got := hostMemory(); got < minBurst {
		t.Errorf("this host has %d octets", got)
	}
}
