package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
)

func init() {
	programs["bodies-never-closed"] = func(w *world) step {
		address := startUpstream("http")
		client := &http.Client{}
		return func(now int) {
			if now%minute == 0 {
				response, err := client.Get("http://" + address + "/")
				if err == nil {
					open = append(open, response.Body)
				}
			}
		}
	}
	programs["bodies-closed"] = func(w *world) step {
		address := startUpstream("http")
		client := &http.Client{}
		return func(now int) {
			for i := 0; i < 3; i++ {
				if response, err := client.Get("http://" + address + "/"); err == nil {
					response.Body.Close()
				}
			}
		}
	}
	programs["readers-of-lost-connections"] = func(w *world) step {
		address := startUpstream("hold")
		return func(now int) {
			if connection, err := net.Dial("tcp", address); err == nil {
				go readUpdates(connection)
			}
		}
	}
	programs["handlers-hang-clients-leave"] = func(w *world) step {
		hang, entered := hanging()
		address, client := listenHTTP(hang), &http.Client{}
		return func(now int) {
			for i := 0; i < 2; i++ {
				askAndLeave(client, "http://"+address+"/", entered)
			}
		}
	}
	programs["streams-hang-clients-leave"] = func(w *world) step {
		hang, entered := hanging()
		server := httptest.NewUnstartedServer(hang)
		server.EnableHTTP2 = true
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		client := server.Client()
		return func(now int) { askAndLeave(client, server.URL, entered) }
	}
	programs["long-polls"] = func(w *world) step { return polls(w, func(int) float64 { return 2 }) }
	programs["long-polls-become-more"] = func(w *world) step {
		return polls(w, func(now int) float64 { return 0.5 + 2.5*float64(now)/300 })
	}
	programs["connection-storm"] = func(w *world) step {
		address, held := startUpstream("hold"), []net.Conn{}
		return func(now int) {
			if now >= 80 && now < 110 {
				for i := 0; i < 8; i++ {
					if connection, err := net.Dial("tcp", address); err == nil {
						held = append(held, connection)
						go converse(connection)
					}
				}
			}
			for i := 0; now >= 130 && i < 5 && len(held) > 0; i++ {
				held[0].Close()
				held = held[1:]
			}
		}
	}
	programs["clients-that-stay"] = func(w *world) step {
		address := startUpstream("hold")
		return func(now int) {
			if now < 150 {
				if connection, err := net.Dial("tcp", address); err == nil {
					go converse(connection)
				}
			}
		}
	}
}

// open is what nobody closes.
var open []io.Closer

// polls is a server whose clients wait for news up to ten minutes.
func polls(w *world, come func(now int) float64) step {
	var lock sync.Mutex
	ends := map[string]<-chan struct{}{}
	address := listenHTTP(http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		lock.Lock()
		end := ends[request.URL.Path]
		lock.Unlock()
		longPoll(end, request)
	}))
	number := 0
	return func(now int) {
		for i := w.some(come(now)); i > 0; i-- {
			number++
			path := fmt.Sprintf("/%d", number)
			lock.Lock()
			ends[path] = w.in(5 + w.random.Intn(20))
			lock.Unlock()
			connection, err := net.Dial("tcp", address)
			if err != nil {
				fail(err.Error())
			}
			fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: poll\r\nConnection: close\r\n\r\n", path)
			w.later(26, func() { connection.Close() })
		}
	}
}

func longPoll(end <-chan struct{}, request *http.Request) {
	select {
	case <-end:
	case <-request.Context().Done():
	}
}

//go:noinline
func readUpdates(connection net.Conn) {
	_, _ = io.Copy(io.Discard, connection)
}

// converse is a connection with a goroutine that reads and one that writes.
//
//go:noinline
func converse(connection net.Conn) {
	done, news := make(chan struct{}), make(chan int)
	go func() {
		readUpdates(connection)
		close(done)
	}()
	select {
	case <-done:
	case <-news:
	}
}

func listenHTTP(handler http.Handler) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err.Error())
	}
	go func() { _ = http.Serve(listener, handler) }()
	return listener.Addr().String()
}

// startUpstream starts this program once more, as a server beyond the network.
func startUpstream(kind string) string {
	command := exec.Command(os.Args[0], "-upstream")
	command.Env = append(os.Environ(), "UPSTREAM="+kind)
	// It ends with its standard input, which stays open until this program ends.
	input, err := command.StdinPipe()
	if err != nil {
		fail(err.Error())
	}
	open = append(open, input)
	out, err := command.StdoutPipe()
	if err != nil {
		fail(err.Error())
	}
	if err := command.Start(); err != nil {
		fail(err.Error())
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		fail("no upstream: " + err.Error())
	}
	return line[:len(line)-1]
}

// upstream ends with its standard input.
func upstream() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err.Error())
	}
	if os.Getenv("UPSTREAM") == "http" {
		// Longer than what is read ahead, so that a body that is not closed keeps its connection.
		body := make([]byte, 1<<16)
		go func() {
			_ = http.Serve(listener, http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write(body) }))
		}()
	} else {
		go func() {
			var held []net.Conn
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				held = append(held, connection)
			}
		}()
	}
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// hanging is a handler that waits for a lock nobody gives back, and tells of each request that it has.
func hanging() (http.Handler, <-chan struct{}) {
	entered, lock := make(chan struct{}), new(sync.Mutex)
	lock.Lock()
	return http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		select {
		case entered <- struct{}{}:
		case <-request.Context().Done():
		}
		lock.Lock()
		lock.Unlock()
	}), entered
}

// askAndLeave asks for a page, and has no patience once its handler has begun.
func askAndLeave(client *http.Client, url string, entered <-chan struct{}) {
	asking, leave := context.WithCancel(context.Background())
	defer leave()
	request, err := http.NewRequestWithContext(asking, http.MethodGet, url, nil)
	if err != nil {
		fail(err.Error())
	}
	go func() {
		select {
		case <-entered:
			leave()
		case <-asking.Done():
		}
	}()
	if response, err := client.Do(request); err == nil {
		response.Body.Close()
	}
}
