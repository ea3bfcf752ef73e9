//go:build !linux

package proxy

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
)

const haveOriginal = false

func mayBeTransparent() error { return errors.New("--transparent works on Linux only") }

func (p *Proxy) limitDescriptors(*Options) error { return nil }

func isListening(*os.File) bool { return true }

func allowTransparent(string, string, syscall.RawConn) error { return nil }

func originalOf(end) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.New("where a client wanted to go can be found out on Linux only")
}

func endDrains(end, *int64) bool { return false }

func bindTo(netip.AddrPort) func(network, address string, c syscall.RawConn) error { return nil }
