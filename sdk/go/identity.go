package metrickit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// slotsMax is how many programs of one job a host numbers.
const slotsMax = 256

// executableName is what the program is called on disk.
func executableName() string {
	path, err := os.Executable()
	if err != nil && len(os.Args) > 0 {
		path = os.Args[0]
	}
	name := strings.TrimSuffix(filepath.Base(path), " (deleted)")
	if name == "" || name == "." || name == string(filepath.Separator) {
		return "go"
	}
	return name
}

// instance is the label of that name where nobody chose one, with what has to
// be closed at the end to free the slot in it.
//
// A slot is held as a socket that only one process at a time can have and that
// the system frees when the process ends, however it ends.
func instance(job string) (string, io.Closer) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	for slot := 0; slot < slotsMax; slot++ {
		held, taken := holdSlot(job, slot)
		if held != nil {
			return fmt.Sprintf("%s/%d", host, slot), held
		}
		if !taken {
			break
		}
	}
	return fmt.Sprintf("%s/pid-%d", host, os.Getpid()), io.NopCloser(nil)
}
