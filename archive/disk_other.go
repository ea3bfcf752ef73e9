//go:build !unix

package archive

import "os"

const noFollow = 0

func (d osDisk) OpenWriter(name string, flag int) (mailFile, error) {
	f, err := d.OpenFile(name, flag|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	return plainFile{f}, nil
}

type plainFile struct{ file }

func (plainFile) StartSync() error { return nil }

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
