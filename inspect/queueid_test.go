package inspect

import "testing"

func TestQueueID(t *testing.T) {
	for reply, want := range map[string]string{
		"Ok: queued as 4XyZ3b2c1d":                                 "4XyZ3b2c1d",
		"OK id=1uABCD-000000001Xy-2abc":                            "1uABCD-000000001Xy-2abc",
		"<a@x> [InternalId=4711, Hostname=x] Queued mail":          "4711",
		"3a7b2c1d Message accepted for delivery":                   "3a7b2c1d",
		"3a7b2c1d: Message accepted for delivery":                  "3a7b2c1d",
		"wBN45678901234 Message accepted for delivery":             "wBN45678901234",
		"<b@example.net> 8Gd5A2k3IWq9AQAAaaaaaa Saved":             "8Gd5A2k3IWq9AQAAaaaaaa",
		"Ok. 000000006B0BAC4B.00005A23":                            "000000006B0BAC4B.00005A23",
		"Ok. Thanks":                                               "",
		"OK: Message accepted":                                     "",
		"OK message accepted":                                      "",
		"Ok, message accepted for delivery: queued as 4XyZ3b2c1d.": "4XyZ3b2c1d",
		"Thanks": "",
	} {
		if got := queueID(reply); got != want {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
}
