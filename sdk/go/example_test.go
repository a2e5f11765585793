package metrickit_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	metrickit "github.com/metrickit/metrickit/sdk/go"
)

func ExampleStart() {
	client, err := metrickit.Start(metrickit.Options{Disabled: true}) // leave Disabled out
	if err != nil {
		log.Print(err) // the options; the program runs on without
	}
	defer client.Close(context.Background())
}

func ExampleNewCounter() {
	orders := metrickit.NewCounter("example_orders_total", "Orders taken.", "kind")
	express := orders.With("express") // keep it where it is used often
	express.Inc()
	express.Add(2)
	fmt.Println(express.Value())
	// Output: 3
}

func ExampleNewHistogram() {
	seconds := metrickit.NewHistogram("example_query_seconds", "Time of database queries.", "table")
	users := seconds.With("users")
	began := time.Now()
	// ask the database
	users.ObserveSince(began)
}

func ExampleNewHistogramWith() {
	// For dashboards that expect fixed buckets.
	options := metrickit.HistogramOptions{Buckets: []float64{0.01, 0.1, 1, 10}}
	metrickit.NewHistogramWith(options, "example_job_seconds", "Time of jobs.").With().Observe(0.3)
}

func ExampleHandler() {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: metrickit.Handler(mux)}
	_ = server // server.ListenAndServe()
}

func ExampleRoundTripper() {
	client := http.Client{Transport: metrickit.RoundTripper(nil)}
	_ = client // client.Get("https://example.com")
}

func ExampleRegistry_Err() {
	registry := metrickit.NewRegistry()
	registry.NewCounter("orders-total", "Orders taken.")
	fmt.Println(registry.Err())
	// Output: metrickit: metric name "orders-total" has "-" at byte 6: letters, digits (not first) and _ are allowed
}

func ExampleRegistry_Collect() {
	open := func() float64 { return 3 } // as in db.Stats().OpenConnections
	metrickit.DefaultRegistry().Collect("database", func(e *metrickit.Emitter) {
		e.Gauge("example_db_open_connections", "Open connections.", open(), metrickit.Label{Name: "pool", Value: "main"})
	})
}
