# Adds bounds to the CustomResourceDefinitions for which controller-gen has no marker.

# Quantities. The pattern of controller-gen accepts 1e1.5, which no client can decode, so
# one such baseline would stop the operator from reading any; 1e999999999, which takes
# hours to parse; and negative quantities. Bounded quantities also reduce the estimated
# cost of the CEL rules about them to almost nothing.
s/^( *)pattern: \^\(\\\+\|-\)\?\(\(\[0-9\].*$/\1maxLength: 32\
\1minimum: 0\
\1pattern: ^\\+?([0-9]+([.][0-9]*)?|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$/

# Label keys. A single pattern cannot also limit the length of the part before the '/'.
s/^( *)(pattern: \^\(\[a-z0-9\]\(\[-a-z0-9\]\*\[a-z0-9\]\)\?\(\[\.\].*\/\)\?\(\[A-Za-z0-9\].*)$/\1allOf:\
\1- pattern: ^([^\/]{1,253}\/)?[^\/]+$\
\1\2/
