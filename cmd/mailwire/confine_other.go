//go:build !linux

package main

import "errors"

func mayCapture() error {
	return errors.New("capturing from an interface needs Linux; elsewhere give the packets by a pipe: tcpdump -i IFACE -w - | mailwire tap -r -")
}

func dropTo(string, bool) error {
	return usage("--user is for capturing from an interface, which needs Linux")
}

func confine(bool, ...string) (inForce string, err error) { return "", nil }
