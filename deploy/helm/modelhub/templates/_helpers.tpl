{{- define "modelhub.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "modelhub.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "modelhub.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "modelhub.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "modelhub.selector" -}}
app.kubernetes.io/name: {{ include "modelhub.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "modelhub.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "modelhub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "modelhub.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "modelhub.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "modelhub.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "modelhub.secret" -}}
{{- if .Values.keys.existingSecret }}
{{- .Values.keys.existingSecret }}
{{- else if or .Values.keys.api .Values.keys.admin }}
{{- include "modelhub.fullname" . }}
{{- end }}
{{- end }}

{{- /* A setting as the environment wants it: lists in JSON, whole numbers without an exponent. */ -}}
{{- define "modelhub.setting" -}}
{{- if kindIs "slice" . }}{{ toJson . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{- /* Quantities as text, {cpu: 1} too: a server-side apply to older versions refuses numbers. */ -}}
{{- define "modelhub.resources" -}}
{{- $texts := dict }}
{{- range $kind, $quantities := . }}
{{- $of := dict }}
{{- range $name, $quantity := $quantities }}
{{- $_ := set $of $name (include "modelhub.setting" $quantity) }}
{{- end }}
{{- $_ := set $texts $kind $of }}
{{- end }}
{{- toYaml $texts }}
{{- end }}

{{- define "modelhub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What the server and whoever fetches for it read from their environment. */ -}}
{{- define "modelhub.environment" -}}
- configMapRef: {name: {{ include "modelhub.fullname" . }}}
{{- if and (eq .Values.store.source "bucket") .Values.store.bucket.existingSecret }}
- secretRef: {name: {{ .Values.store.bucket.existingSecret }}}
{{- end }}
{{- end }}

{{- /* The port of a bucket's server. */ -}}
{{- define "modelhub.storePort" -}}
{{- $endpoint := ternary .Values.store.bucket.endpoint "" (eq .Values.store.source "bucket") }}
{{- $port := regexFind ":[0-9]+$" $endpoint | trimPrefix ":" }}
{{- $port | default (ternary "80" "443" (hasPrefix "http://" $endpoint)) }}
{{- end }}
