//go:build go1.23

package metrickit

import "net/http"

// patternOf is the pattern that a ServeMux matched the request with.
func patternOf(r *http.Request) string { return r.Pattern }
