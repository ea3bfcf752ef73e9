package archive

import "sync"

// spooler works on the files of unfinished mails in live mode, in a goroutine of its own: large mails reach the disk's
// cache while Commit waits for the disk to take others for good.
type spooler struct {
	mu    sync.Mutex
	more  sync.Cond
	queue []func() // in this order
	ended bool
	done  chan struct{}
}

func newSpooler() *spooler {
	s := &spooler{done: make(chan struct{})}
	s.more.L = &s.mu
	go s.run()
	return s
}

// do has op done, after all that was asked for before.
func (s *spooler) do(op func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, op)
	s.more.Signal()
}

// end returns when everything is done.
func (s *spooler) end() {
	s.mu.Lock()
	s.ended = true
	s.more.Signal()
	s.mu.Unlock()
	<-s.done
}

func (s *spooler) run() {
	defer close(s.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 {
			if s.ended {
				return
			}
			s.more.Wait()
		}
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, op := range queue {
			op()
		}
		s.mu.Lock()
	}
}
