package metrickit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"sync"
	"time"
)

// closeTimeout is how long Close waits where its context has no end.
const closeTimeout = 5 * time.Second

// Client collects and sends. A nil one does nothing.
type Client struct {
	settings *settings
	batch    *batch
	queue    *queue
	sender   *sender
	sources  []source
	own      own
	profiles io.Closer
	slot     io.Closer
	// problems of the registry that were logged.
	problems int

	stop      chan struct{}
	collected chan struct{} // closed when the collecting goroutine is gone
	sent      chan struct{} // closed when the sending goroutine is gone
	cancel    context.CancelFunc

	closing  sync.Once
	closeErr error
}

// source is a part of a round.
type source interface {
	write(b *batch)
}

// Start begins to collect and send, and returns at once. Errors are about the
// options alone: where no receiver answers, readings wait in a bounded queue.
func Start(options Options) (*Client, error) {
	resolved, err := resolve(options, os.Getenv)
	if err != nil {
		return nil, err
	}
	if resolved.Disabled {
		return nil, nil
	}
	c := &Client{
		settings:  &resolved,
		queue:     newQueue(resolved.QueueBytesMax),
		stop:      make(chan struct{}),
		collected: make(chan struct{}),
		sent:      make(chan struct{}),
		slot:      io.NopCloser(nil),
		profiles:  io.NopCloser(nil),
	}
	if resolved.Instance == "" {
		resolved.Instance, c.slot = instance(resolved.Job)
	}
	fixed := append(resolved.labels, label{"job", resolved.Job}, label{"instance", resolved.Instance})
	c.batch = newBatch(fixed, func(body []byte, samples int) { c.queue.put(parcel{body, samples}) })
	c.sender = newSender(&resolved, c.queue)
	c.sources = sources(&resolved)
	if resolved.Profiles != Off {
		// A program is not kept from running by a socket it can't have.
		if c.profiles, err = serveProfiles(resolved.Profiles); err != nil {
			c.profiles = io.NopCloser(nil)
			resolved.Logger.Warn("metrickit: no profiles are offered", "error", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.collect()
	go func() {
		defer close(c.sent)
		c.sender.run(ctx)
	}()
	return c, nil
}

// sources are the parts of a round that settings ask for.
func sources(s *settings) []source {
	var all []source
	if !s.WithoutRuntime {
		all = append(all, newRuntimeSource(), newInfoSource())
	}
	if !s.WithoutProcess {
		all = append(all, newProcessSource())
	}
	return all
}

// collect makes a round at once, and then one every interval. The first
// intervals of programs that start together are of different length.
func (c *Client) collect() {
	defer close(c.collected)
	c.round(false)
	timer := time.NewTimer(time.Duration(rand.Int63n(int64(c.settings.Interval)) + 1))
	defer timer.Stop()
	var ticks <-chan time.Time
	for {
		select {
		case <-c.stop:
			c.round(false)
			c.round(true)
			return
		case <-timer.C:
			ticker := time.NewTicker(c.settings.Interval)
			defer ticker.Stop()
			ticks = ticker.C
		case <-ticks:
		}
		c.round(false)
	}
}

// round reads everything once; a stale one marks every series as ended.
func (c *Client) round(stale bool) {
	began := time.Now()
	c.batch.begin(began, stale)
	for _, part := range c.sources {
		c.guard(part)
	}
	for _, part := range c.settings.Registry.all() {
		c.guard(part)
	}
	c.guard(selfSource{c})
	c.batch.end()
	c.own.series.Store(uint64(c.batch.series))
	c.own.rounds.Add(1)
	c.own.collectNs.Add(uint64(time.Since(began)))
	for _, problem := range c.settings.Registry.problemsFrom(c.problems) {
		c.problems++
		c.settings.Logger.Warn("a metric is not sent", "error", problem)
	}
}

// guard keeps a panic in a function of the program, such as that of a gauge,
// from ending the program.
func (c *Client) guard(part source) {
	defer func() {
		if reason := recover(); reason != nil {
			if c.own.panics.Add(1) == 1 {
				c.settings.Logger.Error("metrickit: reading a metric panicked", "reason", fmt.Sprint(reason))
			}
		}
	}()
	part.write(c.batch)
}

// Close reads everything a last time, marks the series as ended so that
// queries show them no longer, and sends what is in the queue until ctx ends,
// or for five seconds where it never does or is nil. It tells what could not be sent.
// Metrics can be updated afterwards, to no effect. Closing again is harmless.
func (c *Client) Close(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.closing.Do(func() { c.closeErr = c.close(ctx) })
	return c.closeErr
}

func (c *Client) close(ctx context.Context) (problem error) {
	if ctx == nil {
		ctx = context.Background()
	}
	// Also where there is no time for all else: the next client takes it.
	defer func() { problem = errors.Join(problem, c.slot.Close()) }()
	if _, ends := ctx.Deadline(); !ends {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeTimeout)
		defer cancel()
	}
	defer c.cancel()
	problem = c.profiles.Close()
	close(c.stop)
	select {
	case <-c.collected:
	case <-ctx.Done():
		// A function of the program does not return. What is queued is lost.
		return errors.Join(problem, fmt.Errorf("metrickit: readings are still being taken: %w", ctx.Err()))
	}
	close(c.sender.closing)
	select {
	case <-c.sent:
	case <-ctx.Done():
		c.cancel()
		<-c.sent
	}
	if left := c.queue.state(); left.samples > 0 {
		problem = errors.Join(problem, fmt.Errorf("metrickit: %d samples were not sent", left.samples))
	}
	return problem
}
