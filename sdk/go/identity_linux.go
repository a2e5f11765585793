package metrickit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// jobBytesMax keeps the name of a slot below the 107 bytes that a socket's
// name may have.
const jobBytesMax = 60

// holdSlot takes a slot, or says whether somebody else has it.
func holdSlot(job string, slot int) (held io.Closer, taken bool) {
	job = job[:min(len(job), jobBytesMax)]
	// A name in the abstract space: no file is left behind.
	name := fmt.Sprintf("@metrickit/slot/%d/%s", slot, job)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, errors.Is(err, syscall.EADDRINUSE)
	}
	return socket, false
}
