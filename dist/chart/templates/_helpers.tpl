{{/* The labels of every object. */}}
{{- define "securitybaseline.labels" -}}
app.kubernetes.io/name: securitybaseline-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels that select the operator's pods. */}}
{{- define "securitybaseline.selector" -}}
app.kubernetes.io/name: securitybaseline-operator
app.kubernetes.io/component: manager
{{- end }}

{{- define "securitybaseline.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/*
Prints an object of config/ like the kustomization of config/operator: with its prefix, in
the release's namespace, and with the labels. The argument is (list $ object).
*/}}
{{- define "securitybaseline.object" -}}
{{- $ := index . 0 }}{{ $object := index . 1 }}
{{- $_ := set $object.metadata "name" (printf "securitybaseline-%s" $object.metadata.name) }}
{{- $_ := set $object.metadata "labels" (merge (include "securitybaseline.labels" $ | fromYaml) ($object.metadata.labels | default dict)) }}
{{- if $object.metadata.namespace }}
{{- $_ := set $object.metadata "namespace" $.Release.Namespace }}
{{- end }}
{{- if $object.roleRef }}
{{- $_ := set $object.roleRef "name" (printf "securitybaseline-%s" $object.roleRef.name) }}
{{- range $object.subjects }}
{{- $_ := set . "name" (printf "securitybaseline-%s" .name) }}
{{- $_ := set . "namespace" $.Release.Namespace }}
{{- end }}
{{- end }}
---
{{ toYaml $object }}
{{ end }}
