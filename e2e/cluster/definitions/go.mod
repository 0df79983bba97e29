// The projects whose definitions tests install. No program is built from this.
module github.com/dbx-dev/dbx/e2e/cluster/definitions

go 1.25.0

require (
	github.com/cert-manager/cert-manager v1.20.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.5.1
)
