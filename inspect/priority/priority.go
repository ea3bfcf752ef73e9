// Package priority lets who can wait for a processor give way to who cannot. To relay and to capture goes before to inspect,
// and that before to write: what is relayed late delays mail, what is captured late is lost, and what is inspected or
// written late is neither.
package priority

// How much inspectors and writers give way, as nice(1) has it: 5 is a third of a processor where two want all of it.
const (
	Inspectors = 5
	Writers    = 10
)
