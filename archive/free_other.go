//go:build !(darwin || freebsd || linux || windows)

package archive

import "errors"

func (osDisk) Free(string) (int64, error) { return 0, errors.ErrUnsupported }
