//go:build go1.23

package metrickit

import "net/http"

func setPattern(r *http.Request, pattern string) bool {
	r.Pattern = pattern
	return true
}
