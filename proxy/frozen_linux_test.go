package proxy

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// frozen is a Recorder whose disk does not answer until it is released.
type frozen struct {
	*memory
	committing, release chan struct{}
}

func (frozen) Crowded() bool { return false }

func (f frozen) Commit() error {
	signal(f.committing)
	<-f.release
	return nil
}

// TestFrozenRecorder: a disk that does not answer cannot keep Serve from ending.
func TestFrozenRecorder(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		f := frozen{newMemory(), make(chan struct{}, 1), make(chan struct{})}
		o.Recorder = f
		r := newRig(t, o)
		t.Cleanup(func() { close(f.release) })
		r.eachAccepted(greetAndEcho)
		converse(t, r.dial())
		<-f.committing
		r.stop()
		r.kill()
		r.ended()
		f.records(t, 1)
	})
}

// TestFrozenCertificate: nor can one that does not give the certificate, when it has changed or options with it are to be in
// force.
func TestFrozenCertificate(t *testing.T) {
	for name, read := range map[string]func(r *rig){
		"changed": func(*rig) {},
		"reconfigured": func(r *rig) {
			go func() {
				_ = r.tryReconfigure(func(o *Options) { o.Terminate = &Terminate{Cert: o.Terminate.Cert, Key: o.Terminate.Key} })
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			terminate, _ := newAuthority(t).terminate()
			r := newRig(t, Options{Terms: Terms{Terminate: terminate}})
			if err := os.Remove(terminate.Cert); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(terminate.Cert, 0o600); err != nil {
				t.Fatal(err)
			}
			read(r)
			fd := -1
			eventually(t, "the certificate is read", func() (ok bool) {
				var err error
				fd, err = unix.Open(terminate.Cert, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				return err == nil
			})
			t.Cleanup(func() { _ = unix.Close(fd) })
			r.stop()
			r.kill()
			r.ended()
		})
	}
}
