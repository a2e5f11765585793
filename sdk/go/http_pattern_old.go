//go:build !go1.23

package metrickit

import "net/http"

// patternOf knows of none: requests do not tell before Go 1.23.
func patternOf(*http.Request) string { return "" }
