{{- define "dbx-operator.name" -}}
{{- if contains "dbx-operator" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-operator" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "dbx-operator.selector" -}}
app.kubernetes.io/name: dbx-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dbx-operator.labels" -}}
{{ include "dbx-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: dbx
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "dbx-operator.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "dbx-operator.name" .) }}
{{- end }}

{{- /* An image's full name: (list $ image). A registry of one's own takes the place of the one in the name. */}}
{{- define "dbx-operator.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- $repository := $image.repository }}
{{- if $root.Values.registry }}
{{- $first := first (splitList "/" $repository) }}
{{- if or (contains "." $first) (contains ":" $first) (eq $first "localhost") }}{{ $repository = trimPrefix (printf "%s/" $first) $repository }}{{ end }}
{{- $repository = printf "%s/%s" (trimSuffix "/" $root.Values.registry) $repository }}
{{- end }}
{{- if $image.digest }}{{ printf "%s@%s" $repository $image.digest }}{{ else }}{{ printf "%s:%s" $repository ($image.tag | default $root.Chart.AppVersion) }}{{ end }}
{{- end }}
