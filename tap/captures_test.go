package tap

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCaptures holds the streams of real captures against what tshark makes of them. MAILWIRE_CAPTURES names a directory
// of captures with truth/NAME.json beside them.
func TestCaptures(t *testing.T) {
	dir := os.Getenv("MAILWIRE_CAPTURES")
	if dir == "" {
		t.Skip("MAILWIRE_CAPTURES names no directory of captures")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	streams, exact := 0, 0
	for _, name := range names {
		truth, err := os.ReadFile(filepath.Join(dir, "truth", filepath.Base(name)+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		var want struct {
			Streams []struct {
				Stream         int
				Client, Server string
				Start          string
				Skip           []string
				Bytes          struct {
					Client int64  `json:"client_bytes"`
					Server int64  `json:"server_bytes"`
					CSHA   string `json:"client_sha256"`
					SSHA   string `json:"server_sha256"`
					Gaps   []struct {
						Dir     string
						Missing int64
					}
				}
			}
			Skip []string
		}
		if err := json.Unmarshal(truth, &want); err != nil {
			t.Error(name, err)
			continue
		}
		r := new(recorder)
		stats, err := read(t.Context(), Options{Files: []string{name}, Recorder: r, AnyPort: true}, r.create)
		if err != nil {
			t.Log(err)
		}
		if stats.Undecodable > 0 {
			t.Logf("%s: %d of %d undecodable", filepath.Base(name), stats.Undecodable, stats.Packets)
		}
		talks := slices.Clone(r.talks)
		slices.SortStableFunc(talks, func(a, b *talk) int { return cmp.Compare(a.conn.Begin.UnixNano(), b.conn.Begin.UnixNano()) })
		for _, s := range want.Streams {
			streams++
			i := slices.IndexFunc(talks, func(k *talk) bool {
				c, v := plain(k.conn.Client.String()), plain(k.conn.Server.String())
				return (c == plain(s.Client) && v == plain(s.Server)) || (v == plain(s.Client) && c == plain(s.Server))
			})
			if i < 0 {
				if s.Bytes.Client+s.Bytes.Server > 0 {
					t.Errorf("%s: stream %d %s %s: no session", filepath.Base(name), s.Stream, s.Client, s.Server)
				} else {
					exact++
				}
				continue
			}
			k := talks[i]
			talks = slices.Delete(talks, i, i+1)
			var got, wanted [2]string
			c := 0
			if plain(k.conn.Client.String()) != plain(s.Client) {
				c = 1
				t.Logf("%s: stream %d: roles differ", filepath.Base(name), s.Stream)
			}
			for d := range 2 {
				sum := sha256.Sum256(k.marked[d])
				got[d^c] = fmt.Sprintf("%d %s lost %d", len(k.marked[d]), hex.EncodeToString(sum[:4]), k.inner[d])
			}
			var gaps [2]int64
			for _, g := range s.Bytes.Gaps {
				if g.Dir == "c2s" {
					gaps[0] += g.Missing
				} else {
					gaps[1] += g.Missing
				}
			}
			wanted[0] = fmt.Sprintf("%d %s lost %d", s.Bytes.Client, s.Bytes.CSHA[:8], gaps[0])
			wanted[1] = fmt.Sprintf("%d %s lost %d", s.Bytes.Server, s.Bytes.SSHA[:8], gaps[1])
			if got == wanted {
				exact++
			} else {
				t.Errorf("%s: stream %d %s %s skip %v:\n got %s\nwant %s", filepath.Base(name), s.Stream, s.Client, s.Server, append(s.Skip, want.Skip...), got, wanted)
			}
		}
		for _, k := range talks {
			t.Logf("%s: another session: %v %v %d %d", filepath.Base(name), k.conn.Client, k.conn.Server, len(k.data[0]), len(k.data[1]))
		}
	}
	t.Logf("%d of %d streams exact", exact, streams)
}

func plain(a string) string { return strings.NewReplacer("[", "", "]", "").Replace(a) }
