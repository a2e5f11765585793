package metrickit

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func resolved(t *testing.T, options Options, environment ...string) (settings, error) {
	t.Helper()
	variables := map[string]string{}
	for _, pair := range environment {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	return resolve(options, func(name string) string { return variables[name] })
}

func TestDefaults(t *testing.T) {
	s, err := resolved(t, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.url.String() != "http://127.0.0.1:9595/api/v1/write" || s.Socket != DefaultSocket || s.Interval != 10*time.Second ||
		s.QueueBytesMax != 4<<20 || s.Registry != DefaultRegistry() || s.Logger == nil || s.Job != executableName() ||
		s.Profiles != profilesDefault() || s.token() != "" || s.Disabled {
		t.Errorf("got %+v", s)
	}
}

func TestTheEnvironmentFillsIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := []string{
		"METRICKIT_URL=https://m.example/custom/path", "METRICKIT_SOCKET=unix:/a.sock", "METRICKIT_TOKEN=t",
		"METRICKIT_TOKEN_FILE=" + file, "METRICKIT_JOB=j", "METRICKIT_INSTANCE=i", "METRICKIT_ENVIRONMENT=e",
		"METRICKIT_LABELS=b=2, a=1", "METRICKIT_INTERVAL=250ms", "METRICKIT_QUEUE_BYTES_MAX=600000",
		"METRICKIT_PROFILES=off", "METRICKIT_DISABLED=true",
	}
	s, err := resolved(t, Options{}, environment...)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, l := range s.labels {
		labels[l.name] = l.value
	}
	if s.url.String() != "https://m.example/custom/path" || s.Socket != "/a.sock" || s.token() != "from a file" ||
		s.Job != "j" || s.Instance != "i" || s.Interval != 250*time.Millisecond || s.QueueBytesMax != 600_000 || s.Profiles != Off ||
		!s.Disabled || !reflect.DeepEqual(labels, map[string]string{"a": "1", "b": "2", "env": "e"}) {
		t.Errorf("got %+v", s)
	}
	own := Options{URL: "http://own", Job: "own", Interval: time.Second, Labels: map[string]string{}}
	if s, err = resolved(t, own, environment...); err != nil || s.url.Host != "own" || s.Job != "own" || s.Interval != time.Second || len(s.labels) != 1 {
		t.Errorf("what the program sets counts more: %+v, %v", s, err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		options     Options
		environment string
		want        string
	}{
		{Options{URL: "metrics.example"}, "", "METRICKIT_URL"},
		{Options{URL: "ftp://user:secret@x"}, "", "METRICKIT_URL"},
		{Options{URL: "http://user:secret@x\x7f"}, "", "METRICKIT_URL"},
		{Options{URL: Off, Socket: Off}, "", "both off"},
		{Options{Interval: time.Millisecond}, "", "the least is 100ms"},
		{Options{QueueBytesMax: 5}, "", "the least is 524288"},
		{Options{Labels: map[string]string{"a-b": "1"}}, "", `label name "a-b"`},
		{Options{Labels: map[string]string{"job": "1"}}, "", "is taken"},
		{Options{}, "METRICKIT_INTERVAL=10", "a duration such as 10s"},
		{Options{}, "METRICKIT_QUEUE_BYTES_MAX=4MB", "a number of bytes"},
		{Options{}, "METRICKIT_DISABLED=maybe", "true or false"},
		{Options{}, "METRICKIT_LABELS=a", "name=value"},
	} {
		_, err := resolved(t, c.options, c.environment)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v %s: got %v, want %s", c.options, c.environment, err, c.want)
		}
	}
}
