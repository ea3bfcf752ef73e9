package archive

import "errors"

const (
	writeOctets = 1 << 20 // octets that are gathered for one write
	maxOuts     = 8       // files gathered for at a time; a batch rarely has lines of more than two days
)

// Commit appends the oldest batch that every journal has cut to the files; if there is none it does nothing. Lines are
// in the order of their stamps, and lines with one stamp in the order of the journals. In live mode it does before
// what the batch has to do for mails. The error is the first of each kind of file that could not be written; it is
// counted and said already.
func (a *Archive) Commit() error {
	a.committing.Lock()
	defer a.committing.Unlock()
	if batches := a.take(false); batches != nil {
		return a.write(batches)
	}
	return nil
}

// taken is a batch with its journal.
type taken struct {
	j *Journal
	*batch
}

// take takes the oldest batch of each journal, or nothing if one has none. With rest it takes what there is.
func (a *Archive) take(rest bool) []taken {
	a.mu.Lock()
	journals := a.journals
	a.mu.Unlock()
	var all []taken
	for _, j := range journals {
		j.mu.Lock()
		if len(j.cut) > 0 {
			all = append(all, taken{j, j.cut[0]})
		}
		j.mu.Unlock()
	}
	if !rest && len(all) < len(journals) {
		return nil
	}
	for _, t := range all {
		t.j.mu.Lock()
		t.j.cut = append(t.j.cut[:0], t.j.cut[1:]...)
		t.j.mu.Unlock()
	}
	return all
}

// write does what the batches have to do for mails, appends their lines to the files and gives them back.
func (a *Archive) write(batches []taken) error {
	for _, t := range batches {
		for i := range t.mails {
			a.group.add(&t.mails[i])
			t.mails[i] = delivery{} // its record is of no use any more
		}
	}
	a.group.settle()
	a.logs.batch++
	var errs []error
	for kind := range logKinds {
		if err := a.merge(kind, batches); err != nil {
			errs = append(errs, err)
		}
	}
	for _, t := range batches {
		a.lines.Add(-t.octets)
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
