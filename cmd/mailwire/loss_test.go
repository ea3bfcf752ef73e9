package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestTapLoss drops packets from good captures, as a busy mirror port does: mails that were not touched are right, those that
// were are marked, none is invented, none merged, and every octet of payload that was dropped is counted as lost.
func TestTapLoss(t *testing.T) {
	for _, name := range []string{"postfix-source", "postfix-pipelining", "postfix-bdat", "exim-simple", "dovecot-pop3", "opensmtpd-simple"} {
		for _, perMille := range []int{1, 10, 50} {
			for seed := range uint64(10) {
				t.Run(fmt.Sprintf("%s/%d/%d", name, perMille, seed), func(t *testing.T) {
					checkLossy(t, "../../testdata/pcap/"+name+".pcap", perMille, seed)
				})
			}
		}
	}
}

func checkLossy(t *testing.T, whole string, perMille int, seed uint64) {
	lossy := filepath.Join(t.TempDir(), "lossy.pcap")
	dropped := drop(t, whole, lossy, perMille, seed)
	want, got := record1(t, whole), record1(t, lossy)
	known := map[string]record.Message{} // by the octets of the mail
	for _, m := range want.messages {
		known[m.SHA256] = m
	}
	var lost int64
	touched := map[string]bool{}
	for _, s := range got.sessions {
		lost += s.Lost.Client + s.Lost.Server
		touched[s.ID] = s.Lost.Client+s.Lost.Server > 0 || s.Status == record.Unknown
	}
	for _, m := range got.messages {
		if m.Via == "" || len(m.Holes) > 0 || m.Outcome == record.Aborted {
			continue
		}
		w, ok := known[m.SHA256]
		switch {
		case !ok:
			t.Errorf("a mail of %d octets that was never sent: %+v", m.Octets, m)
		case m.From != nil && w.From != nil && *m.From != *w.From:
			t.Errorf("%s: from %q, it was %q", m.ID, *m.From, *w.From)
		case m.Outcome == record.Accepted && w.Outcome != record.Accepted:
			t.Errorf("%s: accepted, it was %s", m.ID, w.Outcome)
		case !touched[m.Session] && m.Outcome != w.Outcome:
			t.Errorf("%s: %s in a session that lost nothing, it was %s", m.ID, m.Outcome, w.Outcome)
		}
	}
	if len(got.messages) > len(want.messages) {
		t.Errorf("%d messages, there were %d", len(got.messages), len(want.messages))
	}
	// Where a FIN and its acknowledgement are both missing, nobody knows whether the last octet acknowledged was data.
	if lost > dropped+int64(len(got.sessions)) {
		t.Errorf("%d octets lost, but only %d were dropped", lost, dropped)
	}
	if dropped == 0 && lost == 0 && fmt.Sprint(shas(got.messages)) != fmt.Sprint(shas(want.messages)) {
		t.Error("nothing was dropped, but the mails differ")
	}
}

func shas(messages []record.Message) (list []string) {
	for _, m := range messages {
		list = append(list, m.SHA256)
	}
	slices.Sort(list)
	return list
}

// drop copies a capture without some of its packets, and returns the octets of payload in those that do not come again.
func drop(t *testing.T, from, to string, perMille int, seed uint64) (octets int64) {
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := pcapgo.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := pcapgo.NewWriter(out)
	if err := w.WriteFileHeader(r.Snaplen(), r.LinkType()); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, uint64(perMille)))
	for {
		data, info, err := r.ReadPacketData()
		if err == io.EOF {
			return octets
		}
		if err != nil {
			t.Fatal(err)
		}
		if random.IntN(1000) < perMille {
			packet := gopacket.NewPacket(data, r.LinkType(), gopacket.NoCopy)
			if tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
				octets += int64(len(tcp.Payload))
			}
			continue
		}
		if err := w.WritePacket(info, data); err != nil {
			t.Fatal(err)
		}
	}
}
