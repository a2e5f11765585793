package metrickit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

const (
	// answerBytesMax is how much of an answer is read.
	answerBytesMax = 4 << 10
	// complaintInterval is the least time between two lines about refusals.
	complaintInterval = time.Minute
	// drainPauseMax bounds pauses while the client closes.
	drainPauseMax = time.Second

	samplesWrittenHeader    = "X-Prometheus-Remote-Write-Samples-Written"
	histogramsWrittenHeader = "X-Prometheus-Remote-Write-Histograms-Written"
)

// sender empties the queue, one request at a time and in order.
type sender struct {
	settings *settings
	queue    *queue
	backoff  backoff
	// closing is closed when nothing will be put into the queue any more.
	closing chan struct{}

	socket *http.Client // nil when off
	server *http.Client // nil when off

	// away says that the last request failed, and a line was logged of it.
	away         bool
	complainedAt time.Time

	requests [3]atomic.Uint64 // by outcome
	samples  [3]atomic.Uint64 // by outcome
	bytes    atomic.Uint64
}

// outcome is what became of a request.
type outcome int

const (
	// sent: the receiver has it.
	sent outcome = iota
	// retried: it goes out again.
	retried
	// rejected: it will never be taken.
	rejected
)

var outcomeNames = [3]string{"sent", "retried", "rejected"}

func newSender(s *settings, q *queue) *sender {
	made := &sender{
		settings: s,
		queue:    q,
		backoff:  pauses,
		closing:  make(chan struct{}),
	}
	if s.Socket != Off {
		path := s.Socket
		made.socket = made.client(&http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{Timeout: s.Timeout}).DialContext(ctx, "unix", path)
			},
			MaxIdleConns:    1,
			IdleConnTimeout: 90 * time.Second,
		})
	}
	if s.url != nil {
		transport := s.Transport
		if transport == nil {
			// Not DefaultTransport: the program may have wrapped or closed it.
			transport = &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: s.Timeout}).DialContext,
				TLSHandshakeTimeout:   s.Timeout,
				ForceAttemptHTTP2:     true,
				MaxIdleConns:          1,
				IdleConnTimeout:       90 * time.Second,
				ExpectContinueTimeout: time.Second,
			}
		}
		made.server = made.client(transport)
	}
	return made
}

func (s *sender) client(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport,
		Timeout:   s.settings.Timeout,
		// A redirect would carry the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// run sends until ctx ends, or until the queue is empty after closing.
func (s *sender) run(ctx context.Context) {
	defer s.closeIdle()
	for ctx.Err() == nil {
		next, found := s.queue.take()
		if !found {
			select {
			case <-s.closing:
				return
			default:
			}
			select {
			case <-s.queue.ready:
			case <-s.closing:
			case <-ctx.Done():
			}
			continue
		}
		if pause := s.deliver(ctx, next); pause > 0 {
			s.pause(ctx, pause)
		}
	}
}

// pause waits; from closing on it waits less.
func (s *sender) pause(ctx context.Context, pause time.Duration) {
	closing := s.closing
	for pause > 0 {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case <-closing:
			timer.Stop()
			closing, pause = nil, min(pause, drainPauseMax)
		}
	}
}

// deliver tries once, puts back what is to be tried again, and returns how
// long to wait before.
func (s *sender) deliver(ctx context.Context, next parcel) time.Duration {
	result := s.post(ctx, next)
	s.log(result, next.samples)
	// A request is counted last: who sees it counted sees what became of it.
	defer s.requests[result.outcome].Add(1)
	if result.outcome == retried {
		s.queue.putBack(next)
		pause := s.backoff.next(result.retryAfter)
		select {
		case <-s.closing:
			pause = min(pause, drainPauseMax)
		default:
		}
		return pause
	}
	s.backoff.reset()
	s.bytes.Add(uint64(len(next.body)))
	written := min(result.written, next.samples)
	s.samples[sent].Add(uint64(written))
	s.samples[rejected].Add(uint64(next.samples - written))
	return 0
}

// result is an outcome with what the receiver said.
type result struct {
	outcome outcome
	// written samples, of those in the request.
	written    int
	retryAfter time.Duration
	err        error
}

// post sends a parcel to the socket if there is one, else to the server.
func (s *sender) post(ctx context.Context, next parcel) result {
	if s.socket != nil && socketExists(s.settings.Socket) {
		answer := s.postTo(ctx, s.socket, "http://agent"+writePath, next, false)
		// A socket that nobody listens at was left behind.
		var dial *net.OpError
		if s.server == nil || !errors.As(answer.err, &dial) || dial.Op != "dial" {
			return answer
		}
	}
	if s.server == nil {
		return result{outcome: retried, err: fmt.Errorf("socket %s does not exist", s.settings.Socket)}
	}
	return s.postTo(ctx, s.server, s.settings.url.String(), next, true)
}

// socketExists says whether connecting is worth a try. Abstract sockets have
// no file to look at.
func socketExists(path string) bool {
	if strings.HasPrefix(path, "@") {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeSocket != 0
}

func (s *sender) postTo(ctx context.Context, client *http.Client, url string, next parcel, withSecrets bool) result {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(next.body))
	if err != nil {
		return result{outcome: rejected, err: err}
	}
	if withSecrets {
		for name, values := range s.settings.Header {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
		if token := s.settings.token(); token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
	}
	request.Header.Set("Content-Type", remotewrite.ContentType)
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("X-Prometheus-Remote-Write-Version", remotewrite.Version)
	request.Header.Set("User-Agent", "metrickit-go/"+Version+" ("+runtime.GOOS+"; "+runtime.Version()+")")
	response, err := client.Do(request)
	if err != nil {
		return result{outcome: retried, err: err}
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	return judge(response, strings.TrimSpace(string(said)), next.samples)
}

// judge tells from an answer what becomes of the request.
func judge(response *http.Response, said string, samples int) result {
	written, told := writtenOf(response.Header)
	status := response.StatusCode
	switch {
	case status/100 == 2 && told:
		return result{outcome: sent, written: written}
	case status/100 == 2:
		// A receiver of version 1.0 alone sees a request without series.
		return result{outcome: rejected, err: errors.New("the receiver does not say what it took: it does not know remote write 2.0")}
	case status/100 == 5, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		// Faults of the set-up: samples wait until it is set right.
		status/100 == 3, status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusProxyAuthRequired:
		return result{outcome: retried, retryAfter: retryAfter(response.Header, time.Now()), err: answerError(status, said)}
	default:
		// Of a request that is refused in part the rest was taken.
		return result{outcome: rejected, written: written, err: answerError(status, said)}
	}
}

func answerError(status int, said string) error {
	return fmt.Errorf("status %d %s: %s", status, http.StatusText(status), said[:min(len(said), 500)])
}

// writtenOf sums what the receiver says it took.
func writtenOf(header http.Header) (written int, told bool) {
	for _, name := range []string{samplesWrittenHeader, histogramsWrittenHeader} {
		if count, err := strconv.ParseUint(header.Get(name), 10, 31); err == nil {
			written, told = written+int(count), true
		}
	}
	return written, told
}

// log writes a line when the receiver goes away or comes back, and now and
// then one about what it refuses.
func (s *sender) log(r result, samples int) {
	logger := s.settings.Logger
	switch {
	case r.outcome == retried && !s.away:
		s.away = true
		logger.Warn("metrickit: readings can't be sent; they are kept and sent later", "error", r.err)
	case r.outcome == sent && s.away:
		s.away = false
		logger.Info("metrickit: readings are sent again")
	case r.outcome == sent && r.written < samples && time.Since(s.complainedAt) >= complaintInterval:
		s.complainedAt = time.Now()
		logger.Warn("metrickit: the receiver did not take all readings; those are lost", "taken", r.written, "of", samples)
	case r.outcome == rejected && time.Since(s.complainedAt) >= complaintInterval:
		s.complainedAt = time.Now()
		logger.Warn("metrickit: readings were refused and are lost", "error", r.err)
	}
}

func (s *sender) closeIdle() {
	for _, client := range []*http.Client{s.socket, s.server} {
		// A transport of the program's own stays as it is.
		if client != nil && client.Transport != s.settings.Transport {
			client.CloseIdleConnections()
		}
	}
}
