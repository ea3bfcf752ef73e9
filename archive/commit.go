package archive

import "errors"

const (
	writeOctets = 1 << 20 // octets that are gathered for one write
	maxOuts     = 8       // files gathered for at a time; a batch rarely has lines of more than two days
)

// taken is a batch with its journal.
type taken struct {
	j *Journal
	*batch
}

// write appends what the batches say to the files, and gives them back. What says nothing of mails is written first, so
// that what comes while these are put on the disk finds memory.
func (a *Archive) write(batches []taken) error {
	if a.options.Live {
		_ = a.gate.enter() // without it nothing is worse than where there are no locks
		defer a.gate.leave()
	}
	a.logs.batch++
	var errs []error
	for kind := range logKinds {
		if kind == mailLog {
			a.store(batches)
		}
		errs = append(errs, a.merge(kind, batches))
		for _, t := range batches {
			t.release(kind)
		}
		if next := kind + 1; next == logKinds || next.memory() != kind.memory() {
			a.giveBack(kind.memory(), batches)
		}
	}
	for _, t := range batches {
		if !t.reset() {
			continue
		}
		t.j.mu.Lock()
		if len(t.j.free) < maxFreeBatch {
			t.j.free = append(t.j.free, t.batch)
		}
		t.j.mu.Unlock()
	}
	return errors.Join(errs...)
}

// store does what the batches have to do for mails.
func (a *Archive) store(batches []taken) {
	for _, t := range batches {
		for i := range t.mails {
			d := &t.mails[i]
			if d.spool != nil && a.yields() {
				d.spool.giveUp(errSlow)
				a.warnSlow()
			}
			a.group.add(d)
			*d = delivery{} // its record is of no use any more
		}
	}
	a.group.settle()
}

// cursor is how far a journal's stream has been merged.
type cursor struct {
	*stream
	entry, block int    // the next ones
	rest         []byte // of the block before
}

// lines returns the next entry and its lines, and goes on to the one after it.
func (c *cursor) lines() (entry, []byte) {
	if len(c.rest) == 0 {
		c.rest = c.data
		if c.block < len(c.full) {
			c.rest = c.full[c.block]
			c.block++
		}
	}
	e := c.entries[c.entry]
	c.entry++
	lines := c.rest[:e.octets]
	c.rest = c.rest[e.octets:]
	return e, lines
}

// out gathers lines for one file.
type out struct {
	key  logKey
	data []byte
}

// merge writes one kind of file.
func (a *Archive) merge(kind logKind, batches []taken) error {
	cursors := a.cursors[:0]
	for _, t := range batches {
		if st := &t.streams[kind]; len(st.entries) > 0 {
			cursors = append(cursors, cursor{stream: st})
		}
	}
	a.cursors = cursors
	var err error
	for len(cursors) > 0 {
		first, stamp := 0, cursors[0].entries[cursors[0].entry].stamp
		for i := 1; i < len(cursors); i++ {
			if s := cursors[i].entries[cursors[i].entry].stamp; s < stamp {
				first, stamp = i, s
			}
		}
		c := &cursors[first]
		e, lines := c.lines()
		if e := a.gather(logKey{kind, e.day}, lines); err == nil {
			err = e
		}
		if c.entry == len(c.entries) {
			cursors = append(cursors[:first], cursors[first+1:]...)
		}
	}
	clear(a.cursors)
	if e := a.flushOuts(); err == nil {
		err = e
	}
	return err
}

// gather adds lines to those of the same file, and writes them when they are many.
func (a *Archive) gather(key logKey, lines []byte) (err error) {
	i := 0
	for i < len(a.outs) && a.outs[i].key != key {
		i++
	}
	if i == maxOuts {
		err = a.flushOuts()
		i = 0
	}
	if i == len(a.outs) {
		if i < cap(a.outs) {
			a.outs = a.outs[:i+1] // with the buffer that was there
		} else {
			a.outs = append(a.outs, out{})
		}
		a.outs[i].key = key
	}
	o := &a.outs[i]
	o.data = append(o.data, lines...)
	if len(o.data) < writeOctets {
		return err
	}
	if e := a.logs.write(key, o.data); err == nil {
		err = e
	}
	o.data = o.data[:0]
	return err
}

// flushOuts writes all that was gathered.
func (a *Archive) flushOuts() (err error) {
	for i := range a.outs {
		o := &a.outs[i]
		if len(o.data) > 0 {
			if e := a.logs.write(o.key, o.data); err == nil {
				err = e
			}
		}
		o.data = o.data[:0]
		if cap(o.data) > 2*writeOctets {
			o.data = nil
		}
	}
	a.outs = a.outs[:0]
	return err
}
