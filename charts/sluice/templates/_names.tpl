{{/* The user name of the daemon's account, which the gate lets pass. */}}
{{- define "sluice.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:sluice
{{- end -}}

{{- define "sluice.labels" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "sluice.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The settings as the daemon reads them. */}}
{{- define "sluice.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- if and .Values.rules (not (hasKey $settings "rules")) -}}
{{- $_ := set $settings "rules" (list "rules") -}}
{{- end -}}
{{- if and .Values.smokeTests (not (hasKey $settings "smoke")) -}}
{{- $_ := set $settings "smoke" (list "smoke") -}}
{{- end -}}
{{- if and .Values.pipeline (not (hasKey $settings "pipeline")) -}}
{{- $_ := set $settings "pipeline" "pipeline.yaml" -}}
{{- end -}}
{{- if .Values.namespaces -}}
{{- $_ := set $settings "cluster" (merge (dict "namespaces" .Values.namespaces) (default dict $settings.cluster)) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/*
An object of a shipped file as this release has it: its labels, its namespace, its account. Given a
list: the root, the object, and the namespace that takes the place of the file's (of "sluice-system" if
it is empty).
*/}}
{{- define "sluice.object" -}}
{{- $root := index . 0 -}}
{{- $object := deepCopy (index . 1) -}}
{{- $namespace := index . 2 -}}
{{- $meta := $object.metadata -}}
{{- $_ := set $meta "labels" (merge (fromYaml (include "sluice.labels" $root)) (default dict $meta.labels)) -}}
{{- if $meta.namespace -}}
{{- $_ := set $meta "namespace" (default $root.Release.Namespace $namespace) -}}
{{- end -}}
{{- range $object.subjects -}}
{{- $_ := set . "namespace" $root.Release.Namespace -}}
{{- end -}}
{{- toYaml $object -}}
{{- end -}}

{{/*
The rights of a shipped file, those in a namespace once for each of a list. Given a list: the root, the
file, the namespaces.
*/}}
{{- define "sluice.rights" -}}
{{- $root := index . 0 -}}
{{- $namespaces := index . 2 -}}
{{- range splitList "\n---\n" ($root.Files.Get (index . 1)) -}}
{{- $object := fromYaml . -}}
{{- if $object.metadata.namespace -}}
{{- range $namespaces }}
---
{{ include "sluice.object" (list $root $object .) }}
{{- end -}}
{{- else }}
---
{{ include "sluice.object" (list $root $object "") }}
{{- end -}}
{{- end -}}
{{- end -}}
