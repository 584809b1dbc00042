# Bounds, in the CustomResourceDefinitions, what controller-gen has no marker for.

# Quantities, which it gives a pattern that takes more than there is: 1e1.5, which no
# client can decode, so that one baseline would keep the operator from reading any;
# 1e999999999, which takes hours; and less than nothing. Bounded, they also cost the
# rules about them next to nothing.
s/^( *)pattern: \^\(\\\+\|-\)\?\(\(\[0-9\].*$/\1maxLength: 32\
\1minimum: 0\
\1pattern: ^\\+?([0-9]+([.][0-9]*)?|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$/

# The keys of labels, of which one pattern cannot also count what is before the '/'.
s/^( *)(pattern: \^\(\[a-z0-9\]\(\[-a-z0-9\]\*\[a-z0-9\]\)\?\(\[\.\].*\/\)\?\(\[A-Za-z0-9\].*)$/\1allOf:\
\1- pattern: ^([^\/]{1,253}\/)?[^\/]+$\
\1\2/
