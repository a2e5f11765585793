// Fills templates with text/template: reads a JSON array of texts, writes an array of results. What it fills them with is
// what template_go.rs gives to ours.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
	"time"
)

type result struct {
	Text string `json:"text"`
	Bad  bool   `json:"bad"`
}

func main() {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		panic(err)
	}
	data := map[string]any{
		"Labels": map[string]string{"job": "api", "instance": "web1:80", "empty": ""},
		"Value":  1234.5,
		"Count":  7,
		"Zero":   0,
		"Name":   "gopher <g@x>",
		"List":   []any{"a", "b", "c"},
		"None":   []any{},
		"Yes":    true,
		"At":     time.Date(2026, 11, 3, 4, 5, 6, 7_080_000, time.UTC),
		"For":    90*time.Minute + 500*time.Millisecond,
	}
	const head = `{{$labels := .Labels}}{{$value := .Value}}`
	results := []result{}
	for _, text := range texts {
		results = append(results, fill(head+text, data))
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}

func fill(text string, data any) (filled result) {
	filled.Bad = true
	parsed, err := template.New("t").Option("missingkey=zero").Parse(text)
	if err != nil {
		return filled
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data); err != nil {
		return filled
	}
	return result{Text: out.String()}
}
