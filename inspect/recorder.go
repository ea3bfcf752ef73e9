package inspect

import "time"

// Recorder is where the words of many sessions go. Every way to watch gives each of the goroutines that run its sessions
// a journal, and lets one goroutine commit what the journals were told.
type Recorder interface {
	// Journal makes the sink of one goroutine. All journals are made, in their order, before anything else.
	Journal() Journal
	// Commit writes the oldest batch of all journals, merged by their stamps, while the journals already take the next
	// ones. It is called once for each batch, when every journal has had its Cut for it, by one goroutine.
	Commit() error
	// Crowded says whether so much waits to be written that mails may soon be given up. Who can hold back should do so
	// until a Commit has ended. Any goroutine may call it.
	Crowded() bool
}

// Journal is the sink of the sessions of one goroutine.
type Journal interface {
	Sink
	// Stamp gives what follows its place among what other journals say; it never decreases. A tap of files stamps the
	// number of the packet, from 1, and what the end of the input causes with numbers beyond the last packet's; what
	// watches live stamps the time.
	Stamp(place int64)
	// Packet keeps a packet in the trace, where one is kept. All of it is borrowed.
	Packet(p Packet)
	// Cut ends a batch.
	Cut()
}

// Packet is what a trace keeps of a packet: Head and, behind it, Data.
type Packet struct {
	Time       time.Time // its day, in its own location, names the file
	Link       int       // what it begins with: a LINKTYPE of the registry
	Wire       int       // octets that it had on the wire
	Head, Data []byte
}
