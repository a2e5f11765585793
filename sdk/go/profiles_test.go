package metrickit

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asking returns a client that connects to a socket and keeps no connection.
func asking(t *testing.T, socket string) func(path string) (int, string) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	return func(path string) (int, string) {
		response, err := client.Get("http://program" + path)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
}

func serving(t *testing.T) (string, func(path string) (int, string)) {
	t.Helper()
	if !canCheckPeers {
		t.Skip("no profiles on this system")
	}
	path := filepath.Join(t.TempDir(), "profiles.sock")
	server, err := serveProfiles(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return path, asking(t, path)
}

func TestProfiles(t *testing.T) {
	_, get := serving(t)
	for _, c := range []struct {
		path   string
		status int
		begins string
	}{
		{"/debug/pprof/goroutine", 200, "\x1f\x8b"},
		{"/debug/pprof/goroutine?debug=1", 200, "goroutine profile: total "},
		{"/debug/pprof/goroutine?debug=2", 200, "goroutine "},
		{"/debug/pprof/heap", 200, "\x1f\x8b"},
		{"/debug/pprof/heap?gc=1&debug=1", 200, "heap profile: "},
		{"/debug/pprof/allocs", 200, "\x1f\x8b"},
		{"/debug/pprof/mutex", 200, "\x1f\x8b"},
		{"/debug/pprof/block", 200, "\x1f\x8b"},
		{"/debug/pprof/threadcreate", 200, "\x1f\x8b"},
		{"/debug/pprof/profile?seconds=1", 200, "\x1f\x8b"},
		{"/debug/pprof/profile?seconds=x", 400, "seconds must be a number"},
		{"/debug/pprof/heap?debug=-1", 400, "debug must be a number"},
		{"/debug/pprof/cmdline", 404, "this program has no such profile"},
		{"/debug/pprof/", 404, "this program has no such profile"},
		{"/debug/vars", 404, "404"},
		{"/", 404, "404"},
	} {
		if status, body := get(c.path); status != c.status || !strings.HasPrefix(body, c.begins) {
			t.Errorf("%s: %d %.100q", c.path, status, body)
		}
	}
}

func TestOneProfileAtATime(t *testing.T) {
	_, get := serving(t)
	done := make(chan int)
	go func() {
		// The other request may come first.
		status, _ := get("/debug/pprof/profile?seconds=2")
		for status == http.StatusServiceUnavailable {
			status, _ = get("/debug/pprof/profile?seconds=2")
		}
		done <- status
	}()
	eventually(t, "a second request is told to come back", func() bool {
		status, _ := get("/debug/pprof/heap")
		return status == http.StatusServiceUnavailable
	})
	if status := <-done; status != 200 {
		t.Errorf("the first got %d", status)
	}
	if status, _ := get("/debug/pprof/heap"); status != 200 {
		t.Errorf("the next got %d", status)
	}
}

func TestStacksOfManyGoroutinesAreRefused(t *testing.T) {
	_, get := serving(t)
	release := make(chan struct{})
	for n := 0; n <= stacksMax; n++ {
		go func() { <-release }()
	}
	status, body := get("/debug/pprof/goroutine?debug=2")
	close(release)
	if status != http.StatusUnprocessableEntity || !strings.Contains(body, "the limit is 10000") {
		t.Errorf("%d %.200s", status, body)
	}
}

func TestPlacesAreBounded(t *testing.T) {
	path, get := serving(t)
	var idle []net.Conn
	for n := 0; n < 3*profileConnectionsMax; n++ {
		connection, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, connection)
	}
	eventually(t, "no place is left", func() bool {
		status, _ := get("/debug/pprof/heap")
		return status == 0
	})
	for _, connection := range idle {
		connection.Close()
	}
	eventually(t, "places come back", func() bool {
		status, _ := get("/debug/pprof/heap")
		return status == 200
	})
}

func TestSocketsOfProfiles(t *testing.T) {
	path, get := serving(t)
	if _, err := serveProfiles(path); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("got %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v %v", info, err)
	}
	if status, _ := get("/debug/pprof/heap"); status != 200 {
		t.Errorf("got %d", status)
	}
	// A file that a killed program left is taken over; other files are not.
	left := filepath.Join(t.TempDir(), "left.sock")
	listener, err := net.Listen("unix", left)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	server, err := serveProfiles(left)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := serveProfiles(file); err == nil {
		t.Error("a file was replaced")
	}
}

func TestAClientOffersProfiles(t *testing.T) {
	if !canCheckPeers {
		t.Skip("no profiles on this system")
	}
	options := quiet("http://127.0.0.1:1")
	options.Profiles = fmt.Sprintf("@metrickit/test/%d/%d", os.Getpid(), time.Now().UnixNano())
	client := start(t, options)
	get := asking(t, options.Profiles)
	if status, body := get("/debug/pprof/goroutine?debug=1"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	client.Close(ctx)
	if status, _ := get("/debug/pprof/goroutine?debug=1"); status != 0 {
		t.Error("it still answers when it is closed")
	}
}
