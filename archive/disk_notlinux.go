//go:build !linux

package archive

import "errors"

func (osDisk) OpenUnnamed(string) (unnamed, error) { return nil, errors.ErrUnsupported }

func startSync(int) error { return nil }
