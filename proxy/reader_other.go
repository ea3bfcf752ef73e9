//go:build !unix

package proxy

import "errors"

const waitsWithoutBuffer = false

func readNow(uintptr, []byte) (int, bool, error) { return 0, false, errors.ErrUnsupported }

func waiting(end) bool { return false }
