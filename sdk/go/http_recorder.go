package metrickit

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	// status is 0 until there is one.
	status int
}

func (r *recorder) WriteHeader(status int) {
	// Those below 200 announce another, but for the switch of protocols.
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(bytes []byte) (int, error) {
	r.began()
	return r.ResponseWriter.Write(bytes)
}

func (r *recorder) began() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
}

// ReadFrom keeps the server's way to send files without copying them.
func (r *recorder) ReadFrom(source io.Reader) (int64, error) {
	r.began()
	return io.Copy(r.ResponseWriter, source)
}

// WriteString keeps the server's way to write texts without copying them.
func (r *recorder) WriteString(text string) (int, error) {
	r.began()
	return io.WriteString(r.ResponseWriter, text)
}

// Unwrap lets http.ResponseController reach all else.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// wrap is the recorder with those of Flush and Hijack that the ResponseWriter
// has, for handlers that ask for them by their types.
func (r *recorder) wrap() http.ResponseWriter {
	_, flushes := r.ResponseWriter.(http.Flusher)
	_, hijacks := r.ResponseWriter.(http.Hijacker)
	switch {
	case flushes && hijacks:
		return struct {
			*recorder
			flusher
			hijacker
		}{r, flusher{r}, hijacker{r}}
	case flushes:
		return struct {
			*recorder
			flusher
		}{r, flusher{r}}
	case hijacks:
		return struct {
			*recorder
			hijacker
		}{r, hijacker{r}}
	default:
		return r
	}
}

// The recorder of these has a name, so that its methods are not theirs too.
type flusher struct{ to *recorder }

func (f flusher) Flush() { _ = f.FlushError() }

// FlushError is what http.ResponseController asks for: it tells a handler that
// streams that its client left.
func (f flusher) FlushError() error {
	f.to.began()
	return http.NewResponseController(f.to.ResponseWriter).Flush()
}

type hijacker struct{ from *recorder }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	connection, buffer, err := h.from.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil && h.from.status == 0 {
		h.from.status = http.StatusSwitchingProtocols
	}
	return connection, buffer, err
}
