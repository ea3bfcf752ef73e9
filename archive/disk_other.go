//go:build !unix

package archive

import "os"

const noFollow = 0

func (d osDisk) OpenWriter(name string, flag int) (writer, error) {
	return d.OpenFile(name, flag|os.O_WRONLY, fileMode)
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
