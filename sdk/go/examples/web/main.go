// Command web is a small shop that MetricKit sees: its runtime, its process,
// its HTTP traffic and its orders.
//
//	metrickit server &
//	go run ./examples/web
//	curl -d '' 'http://127.0.0.1:8080/order?kind=express'
//	metrickit query 'sum by (kind) (shop_orders_total)'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	metrickit "github.com/metrickit/metrickit/sdk/go"
	"github.com/metrickit/metrickit/sdk/go/expvarbridge"
)

var (
	orders = metrickit.NewCounter("shop_orders_total", "Orders taken.", "kind")
	values = metrickit.NewHistogram("shop_order_value_euros", "What orders are worth.", "kind")

	// Handles of series that are used often are kept.
	standard, express = orders.With("standard"), orders.With("express")
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen at")
	flag.Parse()
	if err := run(*listen); err != nil {
		log.Fatal(err)
	}
}

func run(listen string) error {
	expvarbridge.Register(nil)
	client, err := metrickit.Start(metrickit.Options{})
	if err != nil {
		// The options are wrong. The shop opens all the same.
		log.Print(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("/order", order)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a shop") })
	server := &http.Server{Handler: metrickit.Handler(mux), ReadHeaderTimeout: 5 * time.Second}

	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return client.Close(context.Background())
}

func order(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "orders are posted", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Query().Get("kind") {
	case "express":
		express.Inc()
		values.With("express").Observe(20 + 80*rand.Float64())
	default:
		standard.Inc()
		values.With("standard").Observe(10 + 40*rand.Float64())
	}
	fmt.Fprintln(w, "thank you")
}
