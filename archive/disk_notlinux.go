//go:build !linux

package archive

import (
	"errors"
	"os"
)

func (osDisk) OpenUnnamed(string) (unnamed, error) { return nil, errors.ErrUnsupported }

func (osDisk) SyncAll(*os.File) error { return errors.ErrUnsupported }

func startSync(int) error { return nil }
