package report

import (
	"fmt"
	"math"
)

func waits(q *query) (*Section, error) {
	s := &Section{
		Title: "Processing time by command",
		Says: "How long servers took to reply (CONNECT is the greeting, DATA-END the end of a mail): half of the replies came " +
			"within the median, 95 and 99 of 100 within the next two, which are exact to about an eighth. Whole hours are counted.",
		Columns: []Column{
			{"server", Text},
			{"protocol", Text},
			{"command", Text},
			{"replies", Count},
			{"median", Millis},
			{"95%", Millis},
			{"99%", Millis},
			{"longest", Millis},
			{"session", Session},
		},
	}
	if q.o.Clients.IsValid() {
		return nil, nil // they are not kept by client
	}
	return q.fill(s, `
		WITH w AS (SELECT server_ip, protocol, command, bucket, SUM(n) n FROM waits w WHERE `+q.hours("w")+q.ends("w")+`
				GROUP BY server_ip, protocol, command, bucket),
			c AS (SELECT *, SUM(n) OVER (PARTITION BY server_ip, protocol, command ORDER BY bucket) below,
				SUM(n) OVER (PARTITION BY server_ip, protocol, command) total FROM w),
			g AS (SELECT server_ip, protocol, command, total, `+percentile("median", 0.5)+", "+percentile("p95", 0.95)+", "+
		percentile("p99", 0.99)+`
				FROM c GROUP BY server_ip, protocol, command ORDER BY p99 DESC, total DESC LIMIT @top)
		SELECT server_ip, protocol, command, total, median, p95, p99, ms, COALESCE(id, '')
		FROM g LEFT JOIN (SELECT w.server_ip, w.protocol, w.command, MAX(w.ms) ms, s.id
				FROM slowest w JOIN sessions s ON s.row = w.session_row WHERE `+q.hours("w")+q.ends("w")+`
				GROUP BY w.server_ip, w.protocol, w.command) USING (server_ip, protocol, command)
		ORDER BY p99 DESC, total DESC`,
		func(row []any) []any {
			if row[0] == "" {
				row[0] = "others'"
			}
			for i := 4; i <= 6; i++ {
				row[i] = bucketMiddle(row[i].(float64), waitBuckets)
				if longest, ok := row[7].(float64); ok {
					row[i] = min(row[i].(float64), longest)
				}
			}
			return row
		})
}

const (
	waitBuckets = 10 // of each power of ten of milliseconds, as the index has them
	sizeBuckets = 20 // of each power of ten of octets, likewise
)

// percentile is the first bucket within which that part of all lies.
func percentile(name string, part float64) string {
	return fmt.Sprintf("MIN(CASE WHEN below >= total * %g THEN bucket END) %s", part, name)
}

func bucketMiddle(bucket float64, ofTen int) float64 {
	return math.Pow(10, (bucket+0.5)/float64(ofTen))
}

func slowest(q *query) (*Section, error) {
	s := &Section{
		Title: "The longest waits",
		Says:  "Single replies that took longest, with their sessions. Whole hours are looked at.",
		Columns: []Column{
			{"wait", Millis}, {"command", Text}, {"server", Text}, {"client", Text}, {"begin", Time}, {"session", Session},
		},
	}
	if q.o.Clients.IsValid() {
		return nil, nil // those of an hour are of other clients
	}
	return q.fill(s, `
		SELECT w.ms, w.command, s.server_ip, s.client_ip, s.begin, s.id
		FROM slowest w JOIN sessions s ON s.row = w.session_row WHERE `+q.hours("w")+q.ends("w")+` ORDER BY w.ms DESC LIMIT @top`, nil)
}

func sizes(q *query) (*Section, error) {
	s := &Section{
		Title: "Sizes of mails",
		Says:  "Octets of the mails by the way they went; median and 95 of 100 are exact to about a sixteenth.",
		Columns: []Column{
			{"protocol", Text},
			{"direction", Text},
			{"mails", Count},
			{"sum", Octets},
			{"median", Octets},
			{"95%", Octets},
			{"largest", Octets},
			{"session", Session},
		},
	}
	s, err := q.fill(s, `
		WITH b AS (SELECT protocol, direction, bucket, SUM(messages) n, SUM(octets) octets, MAX(largest) largest, session
				FROM `+q.sizes()+` WHERE bucket >= 0 GROUP BY protocol, direction, bucket),
			c AS (SELECT *, SUM(n) OVER (PARTITION BY protocol, direction ORDER BY bucket) below,
				SUM(n) OVER (PARTITION BY protocol, direction) total,
				SUM(octets) OVER (PARTITION BY protocol, direction) sum FROM b)
		SELECT protocol, direction, total, sum, `+percentile("median", 0.5)+`, `+percentile("p95", 0.95)+`, MAX(largest),
			(SELECT session FROM b WHERE b.protocol = c.protocol AND b.direction = c.direction ORDER BY largest DESC LIMIT 1)
		FROM c GROUP BY protocol, direction ORDER BY total DESC, protocol, direction LIMIT @top`,
		func(row []any) []any {
			for i := 4; i <= 5; i++ {
				row[i] = min(int64(math.Round(bucketMiddle(float64(row[i].(int64)), sizeBuckets))), row[6].(int64))
			}
			return row
		})
	if err != nil || len(s.Rows) == 0 {
		return s, err
	}
	s.Chart, err = q.sizeChart()
	return s, err
}
