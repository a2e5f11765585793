package metrickit

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	profilePath = "/debug/pprof/"
	// profileConnectionsMax bounds who may be connected; one at a time is
	// answered.
	profileConnectionsMax = 4
	cpuSecondsDefault     = 30
	cpuSecondsMax         = 120
	// stacksMax is up to how many goroutines each one's stack is told: writing
	// them stops the program, for a second or more with a hundred thousand.
	stacksMax = 10_000
)

// profileNames are what can be asked for, beside the processor profile. Those
// that this release of Go does not have are not found.
var profileNames = []string{"goroutine", "heap", "allocs", "mutex", "block", "threadcreate", "goroutineleak"}

// profileServer answers requests for profiles on a unix socket. It uses no
// handler of net/http/pprof, whose import would offer them on the program's
// own ports as well.
type profileServer struct {
	http http.Server
	// busy has a place for the one request that is answered.
	busy   chan struct{}
	served chan struct{}
}

// serveProfiles listens at a path or an abstract @name, and answers programs
// of the same user and of root until it is closed.
func serveProfiles(address string) (io.Closer, error) {
	if !canCheckPeers {
		return nil, fmt.Errorf("sockets for profiles need to know who connects, which %s does not tell", runtime.GOOS)
	}
	listener, err := listenUnix(address)
	if err != nil {
		return nil, err
	}
	s := &profileServer{busy: make(chan struct{}, 1), served: make(chan struct{})}
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      (cpuSecondsMax + 30) * time.Second,
		IdleTimeout:       5 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() {
		defer close(s.served)
		// It ends with an error when it is closed, and only then.
		_ = s.http.Serve(&peerListener{Listener: listener, places: make(chan struct{}, profileConnectionsMax)})
	}()
	return s, nil
}

// listenUnix binds, and takes the place of a socket file that was left behind.
func listenUnix(address string) (net.Listener, error) {
	if !strings.HasPrefix(address, "@") {
		if info, err := os.Lstat(address); err == nil && info.Mode()&os.ModeSocket != 0 {
			if other, err := net.DialTimeout("unix", address, time.Second); err == nil {
				other.Close()
				return nil, fmt.Errorf("another program listens at %s", address)
			}
			os.Remove(address)
		}
	}
	listener, err := net.Listen("unix", address)
	if err == nil && !strings.HasPrefix(address, "@") {
		// Who may connect is checked; this spares others the attempt.
		err = os.Chmod(address, 0o600)
	}
	if err != nil {
		if listener != nil {
			listener.Close()
		}
		return nil, fmt.Errorf("socket for profiles: %w", err)
	}
	return listener, nil
}

// Close ends requests under way too.
func (s *profileServer) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

// peerListener hands out connections of those that may ask, a few at a time.
type peerListener struct {
	net.Listener
	places chan struct{}
}

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !mayAsk(connection) {
			connection.Close()
			continue
		}
		select {
		case l.places <- struct{}{}:
			return &placedConn{Conn: connection, places: l.places}, nil
		default:
			connection.Close()
		}
	}
}

// placedConn gives its place back when it is closed.
type placedConn struct {
	net.Conn
	places chan struct{}
}

func (c *placedConn) Close() error {
	err := c.Conn.Close()
	if err == nil {
		// A second Close is an error: the place is given back once.
		<-c.places
	}
	return err
}

func (s *profileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, found := strings.CutPrefix(r.URL.Path, profilePath)
	if !found || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "another profile is being taken", http.StatusServiceUnavailable)
		return
	}
	query := r.URL.Query()
	debug, seconds := 0, cpuSecondsDefault
	for parameter, into := range map[string]*int{"debug": &debug, "seconds": &seconds} {
		if text := query.Get(parameter); text != "" {
			number, err := strconv.Atoi(text)
			if err != nil || number < 0 {
				http.Error(w, parameter+" must be a number", http.StatusBadRequest)
				return
			}
			*into = number
		}
	}
	if name == "profile" {
		serveProcessor(w, r.Context(), seconds)
		return
	}
	serveLookup(w, name, debug, query.Has("gc"))
}

// serveProcessor samples what runs, until the time is up or the client leaves.
func serveProcessor(w http.ResponseWriter, ctx context.Context, seconds int) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	timer := time.NewTimer(time.Duration(min(max(seconds, 1), cpuSecondsMax)) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func serveLookup(w http.ResponseWriter, name string, debug int, collect bool) {
	var profile *pprof.Profile
	if slices.Contains(profileNames, name) {
		profile = pprof.Lookup(name)
	}
	if profile == nil {
		http.Error(w, "this program has no such profile", http.StatusNotFound)
		return
	}
	if count := runtime.NumGoroutine(); debug >= 2 && strings.HasPrefix(name, "goroutine") && count > stacksMax {
		http.Error(w, fmt.Sprintf("debug=2 would stop the program: it has %d goroutines, the limit is %d; ask with debug=1", count, stacksMax), http.StatusUnprocessableEntity)
		return
	}
	if collect && (name == "heap" || name == "allocs") {
		runtime.GC()
	}
	contentType := "application/octet-stream"
	if debug > 0 {
		contentType = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", contentType)
	// What the client does not take any more can't be told it either.
	_ = profile.WriteTo(w, debug)
}
