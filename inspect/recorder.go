package inspect

// Recorder is where the words of many sessions go. Every way to watch gives each of the goroutines that run its sessions
// a journal, and lets one goroutine commit what the journals were told.
type Recorder interface {
	// Journal makes the sink of one goroutine. All journals are made, in their order, before anything else.
	Journal() Journal
	// Commit writes the oldest batch of all journals, merged by their stamps, while the journals already take the next
	// ones. It is called once for each batch, when every journal has had its Cut for it, by one goroutine.
	Commit() error
}

// Journal is the sink of the sessions of one goroutine.
type Journal interface {
	Sink
	// Stamp gives what follows its place among what other journals say; it never decreases. A tap of files stamps the
	// number of the packet, from 1, and what the end of the input causes with numbers beyond the last packet's; what
	// watches live stamps the time.
	Stamp(place int64)
	// Cut ends a batch.
	Cut()
}
