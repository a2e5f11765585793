//go:build !go1.23

package metrickit

import "net/http"

func setPattern(*http.Request, string) bool { return false }
