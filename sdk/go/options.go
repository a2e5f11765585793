package metrickit

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Defaults of Options.
const (
	DefaultURL           = "http://127.0.0.1:9595"
	DefaultSocket        = "/run/metrickit/agent.sock"
	DefaultInterval      = 10 * time.Second
	DefaultTimeout       = 10 * time.Second
	DefaultQueueBytesMax = 4 << 20
)

// Off is the value of Options.Socket, Options.URL and Options.Profiles that
// switches them off.
const Off = "off"

// writePath is where receivers take remote write.
const writePath = "/api/v1/write"

const (
	intervalMin = 100 * time.Millisecond
	// queueBytesMin has room for the largest request: labels of one series, at
	// their limits, can be half of it.
	queueBytesMin    = 512 << 10
	fixedLabelsMax   = 32
	environmentLabel = "env"
)

// Options say where readings go and what the program is called. All fields may
// be left zero: then an environment variable counts, and without one a
// default. What is set here counts more than the environment.
type Options struct {
	// URL of the server: METRICKIT_URL, else DefaultURL. Without a path,
	// /api/v1/write is meant. "off" leaves the socket alone.
	URL string
	// Socket of the agent on this host, a path or an abstract @name:
	// METRICKIT_SOCKET, else DefaultSocket. It is preferred to URL whenever it
	// exists. "off" uses URL alone.
	Socket string
	// Token is sent to URL as a bearer token: METRICKIT_TOKEN. TokenFile,
	// METRICKIT_TOKEN_FILE, names a file with it that is read for each request.
	Token     string
	TokenFile string
	// Header is sent with each request to URL.
	Header http.Header
	// Transport carries requests to URL, for certificates and proxies. It is
	// closed over by nothing else; nil stands for a plain one.
	Transport http.RoundTripper

	// Job and Instance are labels of every series: METRICKIT_JOB, else the name
	// of the executable; METRICKIT_INSTANCE, else HOST/SLOT, where the slot is
	// the lowest number free among the running programs of the same job. A
	// restarted program takes its predecessor's.
	Job      string
	Instance string
	// Environment becomes the label env: METRICKIT_ENVIRONMENT.
	Environment string
	// Labels are more labels of every series: METRICKIT_LABELS, as a=b,c=d.
	Labels map[string]string

	// Interval between two rounds: METRICKIT_INTERVAL, else DefaultInterval.
	Interval time.Duration
	// Timeout of one request, else DefaultTimeout.
	Timeout time.Duration
	// QueueBytesMax bounds what waits while no receiver answers, compressed:
	// METRICKIT_QUEUE_BYTES_MAX, else DefaultQueueBytesMax, which is an hour of
	// the runtime's metrics. Beyond it the oldest is dropped and counted.
	QueueBytesMax int

	// Registry holds the metrics of the application, else DefaultRegistry.
	Registry *Registry
	// WithoutRuntime leaves out go_* and the build's information,
	// WithoutProcess process_*.
	WithoutRuntime bool
	WithoutProcess bool

	// Profiles is the unix socket at which profiles are asked for, a path or an
	// abstract @name: METRICKIT_PROFILES, else @metrickit/go/PID on Linux and
	// none elsewhere. "off" opens none. See docs/go-sdk.md for who may ask.
	Profiles string

	// Logger gets a line when the receiver goes away or comes back, and when
	// something is refused; nil stands for slog.Default.
	Logger *slog.Logger
	// Disabled makes Start return a client that does nothing:
	// METRICKIT_DISABLED=true.
	Disabled bool
}

// settings are options with everything filled in and checked.
type settings struct {
	Options
	url    *url.URL
	labels []label
}

// resolve fills in what is not set. Errors name the option and its variable.
func resolve(options Options, getenv func(string) string) (settings, error) {
	s := settings{Options: options}
	var problems []error
	text := func(field *string, variable, otherwise string) {
		if *field == "" {
			*field = getenv(variable)
		}
		if *field == "" {
			*field = otherwise
		}
	}
	text(&s.URL, "METRICKIT_URL", DefaultURL)
	text(&s.Socket, "METRICKIT_SOCKET", DefaultSocket)
	text(&s.Token, "METRICKIT_TOKEN", "")
	text(&s.TokenFile, "METRICKIT_TOKEN_FILE", "")
	text(&s.Job, "METRICKIT_JOB", executableName())
	text(&s.Instance, "METRICKIT_INSTANCE", "")
	text(&s.Environment, "METRICKIT_ENVIRONMENT", "")
	text(&s.Profiles, "METRICKIT_PROFILES", profilesDefault())
	s.Socket = strings.TrimPrefix(s.Socket, "unix:")
	s.Profiles = strings.TrimPrefix(s.Profiles, "unix:")

	if value := getenv("METRICKIT_DISABLED"); value != "" && !s.Disabled {
		disabled, err := strconv.ParseBool(value)
		if err != nil {
			problems = append(problems, fmt.Errorf("METRICKIT_DISABLED is %q: true or false", value))
		}
		s.Disabled = disabled
	}
	if value := getenv("METRICKIT_INTERVAL"); value != "" && s.Interval == 0 {
		interval, err := time.ParseDuration(value)
		if err != nil {
			problems = append(problems, fmt.Errorf("METRICKIT_INTERVAL is %q: a duration such as 10s", value))
		}
		s.Interval = interval
	}
	if value := getenv("METRICKIT_QUEUE_BYTES_MAX"); value != "" && s.QueueBytesMax == 0 {
		bytes, err := strconv.Atoi(value)
		if err != nil {
			problems = append(problems, fmt.Errorf("METRICKIT_QUEUE_BYTES_MAX is %q: a number of bytes", value))
		}
		s.QueueBytesMax = bytes
	}
	problems = append(problems, s.bound()...)

	if s.URL != Off {
		parsed, err := parseURL(s.URL)
		if err != nil {
			problems = append(problems, err)
		}
		s.url = parsed
	} else if s.Socket == Off {
		problems = append(problems, errors.New("URL (METRICKIT_URL) and Socket (METRICKIT_SOCKET) are both off"))
	}
	labels, err := s.fixedLabels(getenv("METRICKIT_LABELS"))
	s.labels = labels
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return s, fmt.Errorf("metrickit: %w", err)
	}
	return s, nil
}

// bound sets the defaults of numbers and checks the others.
func (s *settings) bound() []error {
	var problems []error
	if s.Interval == 0 {
		s.Interval = DefaultInterval
	}
	if s.Interval < intervalMin {
		problems = append(problems, fmt.Errorf("Interval (METRICKIT_INTERVAL) is %v, the least is %v", s.Interval, intervalMin))
	}
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	if s.QueueBytesMax == 0 {
		s.QueueBytesMax = DefaultQueueBytesMax
	}
	if s.QueueBytesMax < queueBytesMin {
		problems = append(problems, fmt.Errorf("QueueBytesMax (METRICKIT_QUEUE_BYTES_MAX) is %d, the least is %d", s.QueueBytesMax, queueBytesMin))
	}
	if s.Registry == nil {
		s.Registry = DefaultRegistry()
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	return problems
}

// parseURL checks the URL. It may hold a password: errors do not repeat it.
func parseURL(text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return nil, errors.New("URL (METRICKIT_URL) must be like https://metrics.example:9595")
	}
	if strings.Trim(parsed.Path, "/") == "" {
		parsed.Path = writePath
	}
	return parsed, nil
}

// fixedLabels are the labels of every series but job and instance.
func (s *settings) fixedLabels(variable string) ([]label, error) {
	set := s.Labels
	if set == nil && variable != "" {
		set = make(map[string]string)
		for _, pair := range strings.Split(variable, ",") {
			name, value, found := strings.Cut(pair, "=")
			if !found {
				return nil, fmt.Errorf("METRICKIT_LABELS has %q: pairs are name=value", pair)
			}
			set[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	if len(set) > fixedLabelsMax {
		return nil, fmt.Errorf("%d Labels, the limit is %d", len(set), fixedLabelsMax)
	}
	var labels []label
	for name, value := range set {
		if err := checkLabelName(name); err != nil {
			return nil, err
		}
		labels = append(labels, label{name, value})
	}
	if _, set := set[environmentLabel]; s.Environment != "" && !set {
		labels = append(labels, label{environmentLabel, s.Environment})
	}
	for at := range labels {
		labels[at].value = cleanValue(labels[at].value)
	}
	s.Job, s.Instance = cleanValue(s.Job), cleanValue(s.Instance)
	return labels, nil
}

// cleanValue makes a text a label value.
func cleanValue(text string) string {
	if len(text) > valueBytesMax {
		text = text[:valueBytesMax]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// token is the bearer token of the next request.
func (s *settings) token() string {
	if s.TokenFile == "" {
		return s.Token
	}
	text, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return s.Token
	}
	return strings.TrimSpace(string(text))
}
