package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

const (
	mayRead  = ll.AccessFSReadFile | ll.AccessFSReadDir
	mayWrite = mayRead | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSRefer // Refer: a mail goes from tmp to new

	firstLandlock = 2 // the version that knows Refer; the one before it never lets a file change its directory
)

// mayCapture returns an error that says how to get the right to capture, if this process has not got it.
func mayCapture() error {
	if may, err := cap.GetProc().GetFlag(cap.Effective, cap.NET_RAW); err != nil || may {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		program = "mailwire"
	}
	return fmt.Errorf("capturing needs the right CAP_NET_RAW: run as root, or give it once by: sudo setcap cap_net_raw+ep %s", program)
}

// dropTo makes the process the user, by name or number, with the user's groups; "" is the one that it is. Of its
// capabilities it keeps CAP_NET_RAW, since an interface that comes back is opened again, and no program that it starts
// gets any. Root keeps CAP_DAC_OVERRIDE too, for a data directory that is somebody else's; who relays keeps
// CAP_NET_BIND_SERVICE, for listeners that come with a new configuration.
func dropTo(name string, relays bool) error {
	if name != "" {
		if err := become(name); err != nil {
			return err
		}
	}
	kept := []cap.Value{cap.NET_RAW}
	if relays {
		kept = append(kept, cap.NET_BIND_SERVICE)
	}
	if os.Geteuid() == 0 {
		kept = append(kept, cap.DAC_OVERRIDE)
	}
	if err := keepOnly(kept); err != nil {
		return fmt.Errorf("giving up what capturing does not need failed: %w", err)
	}
	return noNewPrivileges()
}

// become makes the process that user, and leaves its permitted capabilities as they are.
func become(name string) error {
	u, err := user.Lookup(name)
	if _, numeric := strconv.Atoi(name); err != nil && numeric == nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return usage("--user %s: this host knows no such user; name one of /etc/passwd", name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	if uid == os.Getuid() && uid == os.Geteuid() {
		return nil
	}
	gid, groups, err := groupsOf(u)
	if err != nil {
		return fmt.Errorf("--user %s: the groups cannot be found out: %w", name, err)
	}
	if err = cap.SetGroups(gid, groups...); err == nil {
		err = cap.SetUID(uid)
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("--user %s: only root can become another user; run as root, or leave --user out", name)
	case err != nil:
		return fmt.Errorf("--user %s: becoming that user failed: %w", name, err)
	}
	return nil
}

// groupsOf returns the user's own group and all groups.
func groupsOf(u *user.User) (gid int, groups []int, err error) {
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		group, err := strconv.Atoi(id)
		if err != nil {
			return 0, nil, err
		}
		groups = append(groups, group)
	}
	return gid, groups, nil
}

// keepOnly gives up all capabilities but these, of which those that were permitted stay permitted and in effect. The
// bounding set is emptied too, where the right to do that is there.
func keepOnly(kept []cap.Value) error {
	had, left, passed := cap.GetProc(), cap.NewSet(), cap.NewIAB()
	for _, c := range kept {
		permitted, err := had.GetFlag(cap.Permitted, c)
		if err != nil {
			return err
		}
		if err := errors.Join(left.SetFlag(cap.Permitted, permitted, c), left.SetFlag(cap.Effective, permitted, c)); err != nil {
			return err
		}
	}
	if may, err := had.GetFlag(cap.Permitted, cap.SETPCAP); err == nil && may {
		for c := range cap.MaxBits() {
			if err := passed.SetVector(cap.Bound, true, c); err != nil { // true takes it out
				return err
			}
		}
	}
	if err := passed.SetProc(); err != nil {
		return err
	}
	return left.SetProc()
}

// noNewPrivileges takes from programs with set-user-ID or capabilities what makes them different.
func noNewPrivileges() error {
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("no_new_privs cannot be set: %w", err)
	}
	return nil
}

// confine leaves the process, all its threads, these directories to write to, all files that its user may read, and what
// it has open: no program to run, no TCP connection or listener to open. It is called last, when the directories are
// there. Who relays may still connect and listen. Where the kernel has no Landlock, that is said in inForce, which is for
// the log.
func confine(relays bool, writable ...string) (inForce string, err error) {
	who := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	if err := noNewPrivileges(); err != nil {
		return "", err
	}
	version, err := ll.LandlockGetABIVersion()
	known := "unavailable"
	if err == nil && version >= firstLandlock {
		known = "v" + strconv.Itoa(version)
		// Not forbidden: Unix sockets, since systemd is notified at the end.
		restricted := landlock.V8
		restricted.Scoped = ll.ScopeSignal
		rights := landlock.AccessFSSet(mayWrite)
		if relays {
			restricted.HandledAccessNet = 0
			rights |= ll.AccessFSMakeSock // beside a listener, for one that comes with a new configuration
		}
		err := restricted.BestEffort().Restrict(
			landlock.PathAccess(mayRead, "/"), landlock.PathAccess(rights, writable...))
		if err != nil {
			return "", fmt.Errorf("confining the process by Landlock failed: %w", err)
		}
	}
	return fmt.Sprintf("user=%s capabilities=%s landlock=%s no_new_privs", who, permitted(), known), nil
}

// permitted names the capabilities that the process has.
func permitted() string {
	set := cap.GetProc()
	var names []string
	for c := range cap.MaxBits() {
		if has, err := set.GetFlag(cap.Permitted, c); err == nil && has {
			names = append(names, c.String())
		}
	}
	if names == nil {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
