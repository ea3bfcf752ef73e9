package archive

import "github.com/mailwire/mailwire/inspect"

// Recorder is one of several ways to watch that share an archive: what its journals are told is committed without
// waiting for the others.
type Recorder struct {
	a        *Archive
	journals []*Journal // guarded by a.mu
}

// NewRecorder returns a recorder for one way to watch, beside others.
func (a *Archive) NewRecorder() *Recorder {
	r := &Recorder{a: a}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recorders = append(a.recorders, r)
	return r
}

// Journal returns a new journal; lines with the same stamp are in the order in which their journals were made. All
// journals of a recorder are made before any of them is cut.
func (r *Recorder) Journal() inspect.Journal { return r.journal() }

func (r *Recorder) journal() *Journal {
	j := newJournal(r.a)
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.journals = append(r.journals, j)
	return j
}

// Commit appends the oldest batch that every journal has cut to the files; if there is none it does nothing. Lines are
// in the order of their stamps, and lines with one stamp in the order of the journals. In live mode it also does
// what the batch has to do for mails. The error is the first of each kind of file that could not be written; it is
// counted and said already.
func (r *Recorder) Commit() error {
	r.a.committing.Lock()
	defer r.a.committing.Unlock()
	if batches := r.take(false); batches != nil {
		return r.a.write(batches)
	}
	return nil
}

// Crowded implements inspect.Recorder.
func (r *Recorder) Crowded() bool { return r.a.crowded() }

// take takes the oldest batch of each journal, or nothing if one has none. With rest it takes what there is.
func (r *Recorder) take(rest bool) []taken {
	r.a.mu.Lock()
	journals := r.journals
	r.a.mu.Unlock()
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
