"""What the Slicer module SlicerDiffusion is made of; standard library and Slicer's own modules only.

places      where the engine, its resources and the folders of runs are
process     the engine's process: started, spoken to, read from, ended
job         one job: its work, its state, the sentences about it
jobs        jobs in a queue, run one after another by one warm process
handover    voxels to and from the engine as raw NRRD files; transforms hardened on a copy
runs        one run: what is asked, what came back, what goes into the scene
schema      a task's JSON Schema as a list of fields
fields      a widget for each kind of field
panel       fields and the parameter node that is saved with the scene
marks       what the nodes of a run say of themselves
present     a run's artifacts as nodes, with one small file per kind in presenters/
colors      colour maps made in code
legend      the legend of a map in the views
view        layouts, overlays, jumps
corner      the text "SYNTHETIC" in every view that shows made-up voxels
outline     the outline of a map at a threshold
cloud       a map as a cloud in 3D
preview     the picture that forms while a run goes on
history     the runs of this scene, to run again and export
report      everything about a run as text
install     what the engine needs, and Check & repair
session     the module's panel, and what connects its parts:
            runpanel, resultpanel with overlaypanel and findings, historypanel, installpanel
say         sentences, buttons and folding parts of the panel
"""
