"""One file for each kind of artifact. A new kind is a new file here with KIND and present().

KIND = "volume"

def present(artifact, context):
    '''Steps that end in the artifact's node, not yet seen by the user; None where it has none.'''
    image, affine = yield from context.image(artifact)
    ...
    return scene.AddNode(node)    # last: after it there is no yield
"""
