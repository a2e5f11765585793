package expvarbridge_test

import (
	"context"
	"expvar"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	metrickit "github.com/metrickit/metrickit/sdk/go"
	"github.com/metrickit/metrickit/sdk/go/expvarbridge"
	"github.com/metrickit/metrickit/sdk/go/internal/wiretest"
)

func TestNumbersOfExpvar(t *testing.T) {
	expvar.NewInt("req.count").Set(7)
	expvar.NewFloat("load").Set(0.5)
	expvar.NewString("text").Set("12")
	byName := expvar.NewMap("by name")
	byName.Add("a-b", 3)
	expvar.Publish("deep", expvar.Func(func() any {
		return map[string]any{"b": map[string]any{"c": 4, "d": map[string]any{"e": map[string]any{"f": 1}}}, "list": []int{1}, "flag": true}
	}))
	many := expvar.NewMap("zz_many")
	for n := 0; n < 2*expvarbridge.NumbersMax; n++ {
		many.Add(fmt.Sprintf("k%04d", n), 1)
	}
	var bad bool
	expvar.Publish("a_bad", expvar.Func(func() any {
		if bad {
			panic("oh")
		}
		return 1
	}))

	var mu sync.Mutex
	found := map[string]float64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		series, err := wiretest.Body(body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, one := range series {
			if one.Value == one.Value {
				found[one.Name] = one.Value
			}
		}
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(len(series)))
	}))
	defer server.Close()
	round := func() {
		registry := metrickit.NewRegistry()
		expvarbridge.Register(registry)
		client, err := metrickit.Start(metrickit.Options{
			URL: server.URL, Socket: metrickit.Off, Profiles: metrickit.Off, Registry: registry,
			WithoutRuntime: true, WithoutProcess: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	round()
	for name, want := range map[string]float64{
		"expvar_req_count": 7, "expvar_load": 0.5, "expvar_by_name_a_b": 3, "expvar_deep_b_c": 4, "expvar_a_bad": 1,
	} {
		if found[name] != want {
			t.Errorf("%s is %v, want %v", name, found[name], want)
		}
	}
	count := 0
	for name := range found {
		if strings.HasPrefix(name, "expvar_") {
			count++
		}
		for _, part := range []string{"memstats", "cmdline", "text", "list", "flag", "deep_b_d_e"} {
			if strings.HasPrefix(name, "expvar_") && strings.Contains(name, part) {
				t.Errorf("%s was sent", name)
			}
		}
	}
	if count != expvarbridge.NumbersMax {
		t.Errorf("%d numbers", count)
	}
	// A variable that panics costs what comes after it, and nothing else.
	bad = true
	round()
	if found["metrickit_sdk_panics_total"] == 0 {
		t.Error("the panic is not counted")
	}
}
