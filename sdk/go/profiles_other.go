//go:build !linux

package metrickit

import "net"

const canCheckPeers = false

func profilesDefault() string { return Off }

func mayAsk(net.Conn) bool { return false }
