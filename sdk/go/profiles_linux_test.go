package metrickit

import (
	"net"
	"os"
	"testing"
)

func TestWhoMayAsk(t *testing.T) {
	self := uint32(os.Geteuid())
	for user, want := range map[uint32]bool{0: true, self: true, self + 1: false, 65534: self == 65534} {
		if mayAskAs(user) != want {
			t.Errorf("user %d: %v", user, !want)
		}
	}
	if one, two := net.Pipe(); mayAsk(one) || mayAsk(two) {
		t.Error("who is no unix socket may ask")
	}
}
