package metrickit

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// canCheckPeers says that the system tells who is at the other end.
const canCheckPeers = true

// profilesDefault is a name in the abstract space, which needs no file and
// ends with the process.
func profilesDefault() string { return fmt.Sprintf("@metrickit/go/%d", os.Getpid()) }

// mayAsk says whether a client is of the same user or of root: those could
// read the process's memory anyway.
func mayAsk(connection net.Conn) bool {
	unix, ok := connection.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return false
	}
	var peer *syscall.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return err == nil && peerErr == nil && mayAskAs(peer.Uid)
}

func mayAskAs(user uint32) bool {
	return user == 0 || user == uint32(os.Geteuid())
}
