// Package metrickit makes a Go program visible to MetricKit: its runtime, its
// process, its HTTP traffic and whatever it counts of its own.
//
// One call starts it:
//
//	client, err := metrickit.Start(metrickit.Options{})
//	if err != nil {
//		log.Print(err) // the options; the program runs on without
//	}
//	defer client.Close(context.Background())
//
// From then on every metric of package runtime/metrics, the go_* and process_*
// series that dashboards know, and the metrics of [DefaultRegistry] are pushed
// every ten seconds, by Prometheus remote write 2.0, to the agent's socket
// where there is one, else to the server.
//
// # Metrics of the application
//
// Metrics are made once, usually as package variables, and handles of their
// series are kept where they are used often:
//
//	var orders = metrickit.NewCounter("shop_orders_total", "Orders taken.", "kind")
//
//	var express = orders.With("express") // some 50 ns to find, 5 ns to add to
//
//	express.Inc()
//
// # What it promises
//
// Nothing here panics, and no call waits for the network or the disk. Memory
// is bounded: the queue of unsent requests by [Options.QueueBytesMax], each
// metric by its number of series (1,000 unless [CounterVec.Limit] and its like
// say otherwise). What a bound turns away is counted in metrickit_sdk_* series.
// The client runs two goroutines, one that collects and one that sends, and a
// third that waits for requests for profiles.
package metrickit

// Version is the version of this package, as metrickit_sdk_info tells it.
const Version = "0.1.0"
