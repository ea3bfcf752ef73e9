package archive

import (
	"bufio"
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"sync"
)

const (
	maxKnownDays = 8         // days whose ids are remembered; the one not asked for longest is forgotten first
	maxKnownIDs  = 16 << 20  // ids remembered of a day; of those beyond, a second reading is not noticed
	idWithin     = 512       // octets of a line in which its id is
	knownBuffer  = 128 << 10 // octets read at a time
)

// known remembers which records are in the files of a day: those that were there when the day was first asked for, and
// those added since. An id is kept as a hash of eight octets, with a seed of its own in each run. Nil, as in live mode,
// knows nothing.
type known struct {
	a     *Archive
	mu    sync.Mutex
	seed  maphash.Seed
	days  map[day]*knownDay
	clock int64
}

type knownDay struct {
	ids  map[uint64]struct{}
	used int64
}

// has says whether the day has a record with this id, of a session or of a message, or one of its neighbours has: another
// reading may have had other days, as with UTC.
func (k *known) has(d day, id string) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	hash := maphash.String(k.seed, id)
	for _, d := range [...]day{d, d.after(-1), d.after(1)} {
		if _, ok := k.day(d).ids[hash]; ok {
			return true
		}
	}
	return false
}

// add says that the day has it now.
func (k *known) add(d day, id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ids := k.day(d).ids; len(ids) < maxKnownIDs {
		ids[maphash.String(k.seed, id)] = struct{}{}
		return
	}
	k.a.warner.warn("known", "so many sessions in one day that a second reading of the same ones will not be noticed")
}

func (k *known) day(d day) *knownDay {
	k.clock++
	of := k.days[d]
	if of == nil {
		if len(k.days) >= maxKnownDays {
			k.forgetOldest()
		}
		of = &knownDay{ids: map[uint64]struct{}{}}
		k.load(of, messagesLog.fileName(d))
		k.load(of, sessionsLog.fileName(d))
		k.days[d] = of
	}
	of.used = k.clock
	return of
}

func (k *known) forgetOldest() {
	var oldest day
	used := k.clock + 1
	for d, of := range k.days {
		if of.used < used {
			oldest, used = d, of.used
		}
	}
	delete(k.days, oldest)
}

// load reads the ids of a file. A last line without its end does not count: it will be cut off.
func (k *known) load(of *knownDay, name string) {
	f, err := k.a.disk.OpenFile(k.a.path(name), os.O_RDONLY|noFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = eachID(f, func(id []byte) {
			if len(of.ids) < maxKnownIDs {
				of.ids[maphash.Bytes(k.seed, id)] = struct{}{}
			}
		})
		_ = f.Close() // it was only read
	}
	if err != nil {
		k.a.failed("known", errors.New(name+" cannot be read, and what it has may be written twice: "+reason(err)))
	}
}

// eachID calls found with the id of each whole line that has one, in memory that does not depend on the lines.
func eachID(r io.Reader, found func(id []byte)) error {
	const before = `"id":"`
	lines := bufio.NewReaderSize(r, knownBuffer)
	var held [idWithin]byte
	for {
		line, err := lines.ReadSlice('\n')
		head := held[:copy(held[:], line)]
		for err == bufio.ErrBufferFull {
			_, err = lines.ReadSlice('\n')
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if i := bytes.Index(head, []byte(before)); i >= 0 {
			id := head[i+len(before):]
			if n := bytes.IndexByte(id, '"'); n >= 0 {
				found(id[:n])
			}
		}
	}
}
