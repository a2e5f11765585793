module github.com/metrickit/metrickit/sdk/go

go 1.21
